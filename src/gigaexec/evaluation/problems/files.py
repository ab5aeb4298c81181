"""Read the files of a problem folder. A mistake raises ProblemError with the file and, in YAML, the line."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from gigaexec.evaluation.problems.errors import ProblemError


class _WrongScalarError(Exception):
    """A value in a YAML file is not valid for its type, such as an impossible date.

    Args:
        message: Description of the mistake.
        line: Line number, from 1.
    """

    def __init__(self, message: str = "", line: int = 0) -> None:
        super().__init__(message)
        self.line = line


class _StrictLoader(yaml.SafeLoader):
    """A YAML loader that reports repeated keys and invalid values, such as an impossible date, with the line.

    SafeLoader silently keeps the last of two equal keys. For an invalid value it raises various exceptions,
    such as ValueError or KeyError, without a line.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, AttributeError, KeyError, TypeError, OverflowError) as error:
            kind = node.tag.rpartition(":")[2]
            value = f"{node.value!r:.40}" if isinstance(node, yaml.ScalarNode) else "the value"
            raise _WrongScalarError(f"{value} is not a valid {kind}", node.start_mark.line + 1) from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} appears twice", key_node.start_mark
                )
            if isinstance(key, Hashable):
                seen.add(key)
        return super().construct_mapping(node, deep)


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, with or without a byte order mark.

    Raises:
        ProblemError: The file is missing, unreadable or not UTF-8.
    """
    try:
        return path.read_text("utf-8-sig")
    except FileNotFoundError as error:
        raise ProblemError(f"{path} is missing") from error
    except OSError as error:
        raise ProblemError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ProblemError(f"{path}: not UTF-8 text: {error}") from error


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file.

    Raises:
        ProblemError: The file is missing, unreadable or not YAML; the message names the file and the line.
    """
    text = read_text(path)
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ProblemError(f"{path}{line}: not valid YAML: {error.problem or error.context}") from error
    except _WrongScalarError as error:
        raise ProblemError(f"{path}:{error.line}: not valid YAML: {error}") from error
    except RecursionError as error:
        raise ProblemError(f"{path}: not valid YAML: nested too deep") from error
    except yaml.YAMLError as error:  # a forbidden character: this error has no line number
        raise ProblemError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
