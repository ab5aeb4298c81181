"""Seconds and memory for people."""

from __future__ import annotations

UNKNOWN = "-"


def seconds_text(value_s: float | None) -> str:
    """Write a duration with three significant digits; "-" where it is not known."""
    if value_s is None:
        return UNKNOWN
    if value_s < 0.0995:
        return f"{value_s * 1e3:.3g} ms" if value_s >= 0.001 else f"{value_s * 1e3:.2f} ms"
    if value_s < 99.95:
        return f"{value_s:.3g} s"
    if value_s < 3600:
        return f"{value_s // 60:.0f} m {value_s % 60:02.0f} s"
    return f"{value_s // 3600:.0f} h {value_s % 3600 // 60:02.0f} m"


def memory_text(kibibytes: int | None) -> str:
    """Write an amount of memory; "-" where it is not known."""
    if kibibytes is None:
        return UNKNOWN
    mebibytes = kibibytes / 1024
    return f"{mebibytes:.0f} MiB" if mebibytes < 10_000 else f"{mebibytes / 1024:.1f} GiB"
