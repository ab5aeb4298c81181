"""Text from programs, made safe for a log or a terminal.

    sanitize_for_log   removes everything that controls a terminal; for log records; public
    one_line           escapes unsafe characters; for a field of a line, or a cell of a table
    block              escapes unsafe characters except newlines and tabs; for text on a terminal

The results contain no control characters except newlines and tabs, and no characters that reorder text.
`one_line` and `block` also escape invisible characters, such as a zero-width space.

`sanitize_for_log` and `block` keep newlines. So indent the result in a log record: otherwise a line of a
program's text could look like another record. Error objects keep the original text.
"""

from __future__ import annotations

import re
import unicodedata

# The three alternatives are from ECMA-48: control sequences (CSI), control strings (OSC, DCS, SOS, PM, APC)
# up to ST or BEL, and other escape sequences. CSI and control strings start with ESC or an 8-bit control. If
# a control string has no end on its line, only the start is removed: otherwise a program could hide the rest
# of the line. The body of a control string cannot contain a start, so matching takes linear time.
_ANSI_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x80-\x9f\n]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]"
)
# Marks, embeddings, overrides and isolates of the Unicode bidirectional algorithm (UAX 9).
_BIDI_CONTROL = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
# C0 except TAB and LF, DEL, C1.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

# Cc: control characters. Cf: bidirectional controls and other invisible formatting. Cs: lone surrogates.
# Zl and Zp: separators at which some log readers split lines.
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def sanitize_for_log(text: str) -> str:
    r"""Return `text` without characters that control a terminal or reorder what a person reads.

    ANSI escape sequences and bidirectional controls are removed. Other control characters (C0 except TAB and
    LF, DEL, C1) become `\xNN`, lone surrogates become U+FFFD. The function is idempotent.

    Newlines are kept. In a log record, indent a text of several lines: otherwise a line of the text could
    look like another record.

    Args:
        text: Any string.

    Returns:
        Text that can be encoded as UTF-8.
    """
    if text.isascii() and text.isprintable():
        return text
    text = _ANSI_SEQUENCE.sub("", text)
    text = _BIDI_CONTROL.sub("", text)
    text = _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", text)
    return _LONE_SURROGATE.sub("\ufffd", text)


def one_line(text: str) -> str:
    """Return `text` with every unsafe character, every newline and every tab written as an escape."""
    return _escape_unsafe(text, kept="")


def block(text: str) -> str:
    """Return `text` with every unsafe character except newlines and tabs written as an escape."""
    return _escape_unsafe(text, kept="\n\t")


def _escape_unsafe(text: str, kept: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        if character in kept or unicodedata.category(character) not in _UNSAFE_CATEGORIES
        else _escape(character)
        for character in text
    )


def _escape(character: str) -> str:
    code_point = ord(character)
    if code_point <= 0xFF:
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character, f"\\x{code_point:02x}")
    return f"\\u{code_point:04x}" if code_point <= 0xFFFF else f"\\U{code_point:08x}"
