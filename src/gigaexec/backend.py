"""Alias of `gigaexec.backends.contract`, under the path that it had up to 0.1."""

from typing import TYPE_CHECKING

from gigaexec.module_aliases import replace_module

if TYPE_CHECKING:
    from gigaexec.backends.contract import *  # noqa: F403

replace_module(__name__, "gigaexec.backends.contract")
