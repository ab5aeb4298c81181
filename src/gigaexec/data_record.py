"""Alias of `gigaexec.wire.data.record`: the import path of that module up to version 0.1."""

from typing import TYPE_CHECKING

from gigaexec.module_aliases import replace_module

if TYPE_CHECKING:
    from gigaexec.wire.data.record import DataRecord as DataRecord

replace_module(__name__, "gigaexec.wire.data.record")
