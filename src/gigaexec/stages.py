"""Alias of `gigaexec.evaluation.stages`: a short import path."""

from typing import TYPE_CHECKING

from gigaexec.module_aliases import replace_module

if TYPE_CHECKING:
    from gigaexec.evaluation.stages import *  # noqa: F403 - the next line imports __all__
    from gigaexec.evaluation.stages import __all__ as __all__

replace_module(
    __name__,
    "gigaexec.evaluation.stages",
    merged={
        "description": "gigaexec.evaluation.stages.registry",
        "errors": "gigaexec.evaluation.stages.results",
        "extras": "gigaexec.evaluation.extras",
        "findings": "gigaexec.evaluation.findings",
        "function_source": "gigaexec.evaluation.programs.source",
        "names": "gigaexec.evaluation.findings",
        "program_function": "gigaexec.evaluation.stages.executor",
    },
)
