"""Alias of `gigaexec.evaluation.problems`: a short import path."""

from typing import TYPE_CHECKING

from gigaexec.module_aliases import replace_module

if TYPE_CHECKING:
    from gigaexec.evaluation.problems import *  # noqa: F403 - the next line imports __all__
    from gigaexec.evaluation.problems import __all__ as __all__

replace_module(
    __name__,
    "gigaexec.evaluation.problems",
    merged={
        "numbers": "gigaexec.evaluation.numbers",
        "yaml_file": "gigaexec.evaluation.problems.files",
    },
)
