"""The text of a program, and the file that contains the text.

A child process that is started with the method spawn or forkserver imports its functions from the module
`user_code`. So every program has a folder with a file `user_code.py` that can be imported.
"""

from __future__ import annotations

import io
import os
import re
import tokenize

FILE_NAME = "user_code.py"

_BYTE_ORDER_MARK = "\ufeff"
_FIRST_STATEMENT = re.compile(r"^[ \t\f]*[^\s#]", re.MULTILINE)
# PEP 263: a declaration of the encoding counts in the first two lines only.
_OTHER_ENCODING = re.compile(r"\A(?:.*\n)?[ \t\f]*#.*?coding[:=][ \t]*(?!utf-?8\b)[-\w.]+", re.IGNORECASE)
# Since Python 3.12 (f-strings) and 3.14 (t-strings) these strings are several tokens.
_STRING_STARTS = {getattr(tokenize, name, -1) for name in ("FSTRING_START", "TSTRING_START")}
_STRING_ENDS = {getattr(tokenize, name, -1) for name in ("FSTRING_END", "TSTRING_END")}
_NO_STATEMENT = {tokenize.NL, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def normalized(code: str) -> str:
    """Return the text without a byte order mark, and without an indentation that all statements share.

    Lines inside of strings stay as they are. No line is added or removed.
    """
    code = code.removeprefix(_BYTE_ORDER_MARK)
    first = _FIRST_STATEMENT.search(code)
    return _dedented(code) if first is not None and first[0][0] in " \t" else code


def lines_of(code: str) -> list[str]:
    r"""Return the lines as Python's tokenizer counts them: only \n, \r\n and \r end a line."""
    return list(io.StringIO(code, newline=None))


def provide_file(code: str, folder: str, file: str | None) -> str:
    """Make sure that the program's folder contains an importable file `user_code.py`.

    Args:
        code: The text, as `normalized` returns it.
        folder: The program's folder. The folder and its parent are created if they are missing. Other calls
            with the same program may use the folder at the same time.
        file: Absolute path of the file that the text came from; None if the text is from no file.

    Returns:
        The path for `__file__` and tracebacks: `file` if it is not None, else the path of `user_code.py`.

    Raises:
        OSError: The file cannot be written.
    """
    place = f"{folder}/{FILE_NAME}"
    if not os.path.exists(place):
        try:
            contents = _importable(code, file).encode()
        except UnicodeEncodeError:
            return file or place  # a lone surrogate: such a text does not compile
        for each in (os.path.dirname(folder), folder):
            if not os.path.isdir(each):
                _make_folder(each)
        _write(place, contents)
    return file or place


def _importable(code: str, file: str | None) -> str:
    """Return the text itself, or a text that runs it under the name of another file."""
    if file is None and not _OTHER_ENCODING.match(code):
        return code
    rename = f"__file__ = {file!a}\n" if file is not None else ""
    return f"{rename}exec(compile({code!a}, __file__, 'exec', dont_inherit=True))\n"


def _make_folder(path: str) -> None:
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass  # another worker was faster


def _write(path: str, contents: bytes) -> None:
    # Renamed when it is complete: another worker may import the same program at this moment.
    draft = f"{path}.{os.getpid()}"
    with open(draft, "xb") as file:
        file.write(contents)
    os.replace(draft, path)


def _dedented(code: str) -> str:
    """Return the text without the indentation of its first statement, if all statements have it."""
    lines = lines_of(code)
    indentation, depth = "", 0
    inside_strings: set[int] = set()
    string_starts: list[int] = []
    try:
        for kind, text, (first, _), (last, _), _ in tokenize.generate_tokens(iter(lines).__next__):
            if kind == tokenize.INDENT:
                indentation, depth = indentation or text, depth + 1
            elif kind == tokenize.DEDENT:
                depth -= 1
            elif kind == tokenize.STRING:
                inside_strings.update(range(first + 1, last + 1))
            elif kind in _STRING_STARTS:
                string_starts.append(first)
            elif kind in _STRING_ENDS:
                inside_strings.update(range(string_starts.pop() + 1, last + 1))
            if depth == 0 and kind not in _NO_STATEMENT:
                return code
    except (SyntaxError, tokenize.TokenError):
        return code  # compiling reports the error
    return "".join(
        line if number in inside_strings else _without_prefix(line, indentation)
        for number, line in enumerate(lines, 1)
    )


def _without_prefix(line: str, indentation: str) -> str:
    """Return the line without the indentation, or without as much of it as the line has."""
    while not line.startswith(indentation):
        indentation = indentation[:-1]
    return line[len(indentation) :]
