"""How values get from the driver to a worker and back.

codec    values <-> bytes
spill    the spill directory: files for large results, checks on opening, sweep of what dead pools left
output   the head and tail of a call's output
"""
