"""How values get from the driver to a worker and back: the driver's side.

arguments      args and kwargs -> a pickle, and memory files for what is large or shared
codec          encoded values -> values
data_decoder   values from data that a hostile process may have made
data_arrays    numpy's arrays and scalars from such data
spill          the spill directory: files for large results, checks on opening, sweep of what dead pools left
scratch        folders in it that confined programs may write to
descriptors    an open file that must be closed by whoever ends up with it
output         the head and tail of a call's output
"""
