"""Alias of `gigaexec.backends.local.forkserver`, which had this path up to version 0.1."""

from typing import TYPE_CHECKING

from gigaexec.module_aliases import replace_module

if TYPE_CHECKING:
    from gigaexec.backends.local.forkserver import ForkserverBackend as ForkserverBackend

replace_module(__name__, "gigaexec.backends.local.forkserver")
