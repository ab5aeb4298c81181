"""Broken: passes a null pointer to a C function."""

import ctypes


def entrypoint():
    libc = ctypes.CDLL(None)
    libc.strlen.argtypes = [ctypes.c_void_p]
    return [(0.5, 0.5, 0.01 * libc.strlen(None))] * 26
