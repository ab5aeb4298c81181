"""Alias of `gigaexec.sandbox.policy`, under the path that it had up to 0.1."""

from gigaexec.sandbox.policy import (
    ResultFormat as ResultFormat,
    SandboxLevel as SandboxLevel,
    SandboxPolicy as SandboxPolicy,
)
