"""Alias of `gigaexec.evaluation.problems`: the same objects under the path that most code imports them from.

The names in `__all__` are public and typed. The submodules that this path had before the package moved
(`gigaexec.problems.problem`, ...) can still be imported, but type checkers do not see them.
"""

from gigaexec.evaluation.module_aliases import alias_submodules
from gigaexec.evaluation.problems import *  # noqa: F403 - the alias has exactly the names of the package
from gigaexec.evaluation.problems import __all__ as __all__

alias_submodules(
    __name__,
    "gigaexec.evaluation.problems",
    merged={
        "numbers": "gigaexec.evaluation.numbers",
        "yaml_file": "gigaexec.evaluation.problems.files",
    },
)
