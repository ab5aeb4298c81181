"""Broken: reads the memory at address 0."""

import ctypes


def entrypoint():
    return ctypes.cast(0, ctypes.POINTER(ctypes.c_double))[0]
