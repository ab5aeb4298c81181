"""Alias of `gigaexec.evaluation.problems`, under the path from which most code imports it."""

from typing import TYPE_CHECKING

from gigaexec.module_aliases import replace_module

if TYPE_CHECKING:
    from gigaexec.evaluation.problems import *  # noqa: F403 - its __all__ is the next import
    from gigaexec.evaluation.problems import __all__ as __all__

replace_module(
    __name__,
    "gigaexec.evaluation.problems",
    merged={
        "numbers": "gigaexec.evaluation.numbers",
        "yaml_file": "gigaexec.evaluation.problems.files",
    },
)
