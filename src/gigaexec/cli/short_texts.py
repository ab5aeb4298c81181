"""Format durations, amounts of memory and names, so that they fit into a column."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size

from gigaexec.quantities import bytes_text

UNKNOWN = "-"
# Not rich's ellipsis character: if the output is ASCII, it would be written as an escape, which is wider.
_ELLIPSIS = "..."


def seconds_text(value_s: float | None) -> str:
    """Return a duration with the unit that fits: "12.3 ms", "1.00 s", "1 m 40 s", "2 h 01 m".

    Args:
        value_s: The duration, seconds; None if unknown, which gives "-".
    """
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


def memory_text(value_kb: int | None) -> str:
    """Return an amount of memory: "40 MiB", "20.0 GiB".

    Args:
        value_kb: The amount in units of 1024 bytes; None if unknown, which gives "-".
    """
    return UNKNOWN if value_kb is None else bytes_text(value_kb * 1024)


def shorten_end(text: str, width: int) -> str:
    """Cut the end of a text that is wider than `width` terminal cells, and mark the cut."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(0, width - len(_ELLIPSIS))).rstrip() + _ELLIPSIS


def shorten_middle(text: str, width: int) -> str:
    """Cut the middle of a text that is wider than `width` terminal cells, and mark the cut.

    The end of the text is kept, because names of generated programs often differ only at the end.
    """
    if cell_len(text) <= width:
        return text
    tail_width = (width - len(_ELLIPSIS)) // 2
    start = set_cell_size(text, max(0, width - len(_ELLIPSIS) - tail_width)).rstrip()
    return start + _ELLIPSIS + _last_cells(text, tail_width)


def break_at_underscores(name: str, width: int) -> list[str]:
    """Break a name after underscores into lines of at most `width` terminal cells.

    A part without underscores is not broken, even if it is wider than `width`.
    """
    lines = [""]
    for piece in name.replace("_", "_\0").split("\0"):
        if lines[-1] and cell_len(lines[-1] + piece) > width:
            lines.append("")
        lines[-1] += piece
    return lines


def _last_cells(text: str, count: int) -> str:
    tail = text[max(0, len(text) - count) :]
    while cell_len(tail) > count:
        tail = tail[1:]
    return tail


def _three_digits(value: float) -> str:
    if value < 9.995:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 99.95 else f"{value:.0f}"
