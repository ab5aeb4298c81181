"""Alias of `gigaexec.backends.local.loky`, under the path that it had up to 0.1."""

from typing import TYPE_CHECKING

from gigaexec.module_aliases import replace_module

if TYPE_CHECKING:
    from gigaexec.backends.local.loky import LokyBackend as LokyBackend

replace_module(__name__, "gigaexec.backends.local.loky")
