"""Files of a pool.

spill    the spill directory: files for large results; files of dead pools are removed
scratch  folders in it that confined programs may write to
"""
