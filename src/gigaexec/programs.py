"""Alias of `gigaexec.evaluation.programs`, under the path from which most code imports it."""

from typing import TYPE_CHECKING

from gigaexec.module_aliases import replace_module

if TYPE_CHECKING:
    from gigaexec.evaluation.programs import *  # noqa: F403 - its __all__ is the next import
    from gigaexec.evaluation.programs import __all__ as __all__

replace_module(__name__, "gigaexec.evaluation.programs")
