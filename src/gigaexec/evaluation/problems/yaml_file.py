"""Reading YAML so that a mistake is an error with file and line."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from gigaexec.evaluation.problems.errors import ProblemError


class _WrongScalarError(Exception):
    """A value that does not fit its tag.

    Args:
        message: What is wrong.
        line: Where it is, from 1.
    """

    def __init__(self, message: str = "", line: int = 0) -> None:
        super().__init__(message)
        self.line = line


class _StrictLoader(yaml.SafeLoader):
    """PyYAML keeps the last of two equal keys and says nothing, and dates that are none raise whatever they
    like; here both are errors with a line."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, AttributeError, KeyError, TypeError, OverflowError) as error:
            kind = node.tag.rpartition(":")[2]
            shown = f"{node.value!r:.40}" if isinstance(node, yaml.ScalarNode) else "the value"
            raise _WrongScalarError(f"{shown} is no {kind}", node.start_mark.line + 1) from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is there twice", key_node.start_mark
                )
            if isinstance(key, Hashable):
                seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds.

    Raises:
        ProblemError: The file is missing, unreadable or no YAML; the message has file and line.
    """
    try:
        return yaml.load(path.read_text("utf-8-sig"), Loader=_StrictLoader)
    except OSError as error:
        raise ProblemError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ProblemError(f"{path}: is not UTF-8 text: {error}") from error
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ProblemError(f"{path}{line}: is not valid YAML: {error.problem or error.context}") from error
    except _WrongScalarError as error:
        raise ProblemError(f"{path}:{error.line}: is not valid YAML: {error}") from error
    except RecursionError as error:
        raise ProblemError(f"{path}: is not valid YAML: it nests too deep") from error
    except yaml.YAMLError as error:  # a character that YAML does not allow has no mark
        raise ProblemError(f"{path}: is not valid YAML: {' '.join(str(error).split())}") from error
