"""Seconds and memory for people."""

from __future__ import annotations

UNKNOWN = "-"


def seconds_text(value_s: float | None) -> str:
    """Write a duration in the unit that suits it; "-" where it is not known."""
    if value_s is None:
        return UNKNOWN
    if value_s < 0.9995:
        return f"{_three_digits(value_s * 1e3)} ms"
    if value_s < 99.95:
        return f"{_three_digits(value_s)} s"
    minutes, rest_s = divmod(round(value_s), 60)
    if minutes < 60:
        return f"{minutes} m {rest_s:02} s"
    return f"{minutes // 60} h {minutes % 60:02} m"


def memory_text(kibibytes: int | None) -> str:
    """Write an amount of memory; "-" where it is not known."""
    if kibibytes is None:
        return UNKNOWN
    mebibytes = kibibytes / 1024
    return f"{mebibytes:.0f} MiB" if mebibytes < 10_000 else f"{mebibytes / 1024:.1f} GiB"


def _three_digits(value: float) -> str:
    if value < 9.995:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 99.95 else f"{value:.0f}"
