"""Broken: reads the memory at address 1."""

import ctypes


def entrypoint():
    return [(0.5, 0.25 + byte / 1024) for byte in ctypes.string_at(1, 11)]
