"""Alias of `gigaexec.evaluation.programs`: a short import path."""

from typing import TYPE_CHECKING

from gigaexec.module_aliases import replace_module

if TYPE_CHECKING:
    from gigaexec.evaluation.programs import *  # noqa: F403 - the next line imports __all__
    from gigaexec.evaluation.programs import __all__ as __all__

replace_module(__name__, "gigaexec.evaluation.programs")
