"""Alias of `gigaexec.evaluation.stages`: the same objects under the path that most code imports them from.

The names in `__all__` are public and typed. The submodules that this path had before the package moved
(`gigaexec.stages.executor`, ...) can still be imported, but type checkers do not see them.
"""

from gigaexec.evaluation.module_aliases import alias_submodules
from gigaexec.evaluation.stages import *  # noqa: F403 - the alias has exactly the names of the package
from gigaexec.evaluation.stages import __all__ as __all__

alias_submodules(
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
