"""Text from programs, made safe for a log line or a terminal."""

from __future__ import annotations

import unicodedata

# Cc: control characters, ANSI's ESC and NUL included. Cf: bidirectional overrides and other invisible
# formatting. Cs: lone surrogates. Zl, Zp: line and paragraph separators, which some log readers split at.
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def clean(text: str, *, keep_newlines: bool = False) -> str:
    """Return `text` with every character that could forge or hide output written as an escape.

    Args:
        text: Any string, lone surrogates included.
        keep_newlines: Leave newlines and tabs as they are, for text that is shown as a block.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        if (keep_newlines and character in "\n\t")
        or unicodedata.category(character) not in _UNSAFE_CATEGORIES
        else _escape(character)
        for character in text
    )


def _escape(character: str) -> str:
    code_point = ord(character)
    if code_point <= 0xFF:
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character, f"\\x{code_point:02x}")
    return f"\\u{code_point:04x}" if code_point <= 0xFFFF else f"\\U{code_point:08x}"
