"""Format amounts for messages and tables."""

from __future__ import annotations

_UNITS = ((2**20, "MiB"), (2**10, "KiB"))
_SMALLEST_GIB = 10_000 * 2**20
"""Smaller amounts are written in MiB: limits are given in MiB, so the numbers can be compared directly."""


def bytes_text(count: float) -> str:
    """Format a number of bytes: "512 bytes", "1.5 KiB", "98 KiB", "1011 MiB", "19.5 GiB"."""
    if count >= _SMALLEST_GIB:
        return f"{count / 2**30:.1f} GiB"
    for size, unit in _UNITS:
        if count >= size:
            value = count / size
            return f"{value:.3g} {unit}" if value < 9.995 else f"{value:.0f} {unit}"
    return f"{count:.0f} bytes"
