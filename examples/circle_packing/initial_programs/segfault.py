"""Broken: hands a C function a pointer to nothing."""

import ctypes


def entrypoint():
    libc = ctypes.CDLL(None)
    libc.strlen.argtypes = [ctypes.c_void_p]
    return [(0.5, 0.5, 0.01 * libc.strlen(None))] * 26
