"""Files of a pool.

spill    the spill directory: files for large results, swept after dead pools
scratch  folders in it that confined programs may write to
"""
