"""Texts cut and filled to a number of terminal cells."""

from __future__ import annotations

from collections.abc import Iterable

from rich.cells import cell_len, set_cell_size

_CUT = "..."


def widest(texts: Iterable[str]) -> int:
    """The number of cells of the widest text; 0 when there is none."""
    return max(map(cell_len, texts), default=0)


def right(text: str, width: int) -> str:
    """Fill a text on its left."""
    return " " * (width - cell_len(text)) + text


def left(text: str, width: int) -> str:
    """Fill a text on its right."""
    return set_cell_size(text, width) if cell_len(text) < width else text


def cut(text: str, width: int) -> str:
    """Leave the end out where a text is too wide."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(0, width - len(_CUT))).rstrip() + _CUT


def cut_middle(text: str, width: int) -> str:
    """Leave the middle out where a text is too wide: names of generated programs differ at their ends."""
    if cell_len(text) <= width:
        return text
    tail = (width - len(_CUT)) // 2
    start = set_cell_size(text, max(0, width - len(_CUT) - tail)).rstrip()
    return start + _CUT + _last_cells(text, tail)


def broken_at_underscores(name: str, width: int) -> list[str]:
    """Break a name into lines of at most `width` cells where its underscores allow that."""
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
