"""Files of a pool.

spill     the spill directory with the files for large results; removes files of dead pools
scratch   scratch folders in the spill directory, which confined programs may write to
programs  folders in the spill directory for the texts of programs
"""
