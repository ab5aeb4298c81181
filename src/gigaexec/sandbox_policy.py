"""Alias of `gigaexec.sandbox.policy`: the import path of that module up to version 0.1."""

from typing import TYPE_CHECKING

from gigaexec.module_aliases import replace_module

if TYPE_CHECKING:
    from gigaexec.sandbox.policy import (
        ResultFormat as ResultFormat,
        SandboxLevel as SandboxLevel,
        SandboxPolicy as SandboxPolicy,
    )

replace_module(__name__, "gigaexec.sandbox.policy")
