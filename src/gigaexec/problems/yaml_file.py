"""Reading YAML so that a mistake is an error with file and line."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from gigaexec.problems.errors import ProblemError


class _UniqueKeyLoader(yaml.SafeLoader):
    """PyYAML keeps the last of two equal keys and says nothing; here that is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
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
        return yaml.load(path.read_text("utf-8-sig"), Loader=_UniqueKeyLoader)
    except OSError as error:
        raise ProblemError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ProblemError(f"{path}: is not UTF-8 text: {error}") from error
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ProblemError(f"{path}{line}: is not valid YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:  # a character that YAML does not allow has no mark
        raise ProblemError(f"{path}: is not valid YAML: {' '.join(str(error).split())}") from error
