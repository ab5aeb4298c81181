"""Broken: writes far beyond the end of a C array."""

import ctypes


def entrypoint(context):
    values = context["values"]
    array = (ctypes.c_int * len(values))(*values)
    beyond = ctypes.cast(array, ctypes.POINTER(ctypes.c_int))
    for index in range(10**12):
        beyond[index << 20] = 0
