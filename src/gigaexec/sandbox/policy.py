"""What a confined program may see and do."""

from __future__ import annotations

import enum
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from gigaexec.errors import ConfigurationError


class SandboxLevel(enum.StrEnum):
    """How much a program is confined."""

    OFF = "off"
    """Not at all: the program may do what the user may. Its processes still end with its call."""
    STANDARD = "standard"
    """By every step that this machine allows; the outcome says which those are."""
    STRICT = "strict"
    """By every step. Where one is not to be had, nothing is run."""


class ResultFormat(enum.StrEnum):
    """How a return value travels."""

    PICKLE = "pickle"
    """Any value that cloudpickle can pickle. Reading it runs code that the program chose, in your process."""
    DATA = "data"
    """Plain data only, read without running anything."""


@dataclass(frozen=True, slots=True)
class SandboxPolicy:
    """What a program may see and do. Checked on creation.

    Use one of the presets `SandboxPolicy.off()`, `.standard()` and `.strict()`, with changes where needed:
    `SandboxPolicy.standard(read=["/data"])`.

    Under `standard` and `strict` a program can read the interpreter, its libraries, `sys.path`, the call's
    `python_path` and what `read` names; it can write to a scratch folder of its own, which is its current
    folder, HOME and TMPDIR, and is removed after the call. It has no network, no capability and no view of
    other processes. Of a folder of `sys.path` or `python_path` that contains the home folder or the spill
    directory it can list the names and read the modules that lie in it; `/` is left out.

    Args:
        level: Which preset.
        read: More files and folders that it may read.
        write: Files and folders that it may write to and read.
        network: Whether it may use the network (IPv4 and IPv6), all of it. Unix sockets stay out of reach.
        results: How values come back. None is `data` where the program is confined, else `pickle`.

    Raises:
        ConfigurationError: A value makes no sense (a `ValueError`).
    """

    level: SandboxLevel = SandboxLevel.OFF
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    network: bool = False
    results: ResultFormat | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "level", _choice("level", self.level, SandboxLevel))
        for name in ("read", "write"):
            object.__setattr__(self, name, _folders(name, getattr(self, name)))
        if not isinstance(self.network, bool):
            raise ConfigurationError(f"network must be True or False, not {self.network!r}")
        results = self.results
        if results is None:
            results = ResultFormat.DATA if self.confines else ResultFormat.PICKLE
        object.__setattr__(self, "results", _choice("results", results, ResultFormat))
        if not self.confines and (self.read or self.write or self.network):
            raise ConfigurationError("read, write and network mean nothing where the sandbox is off")

    @property
    def confines(self) -> bool:
        """Whether the program is confined at all."""
        return self.level is not SandboxLevel.OFF

    @property
    def format_of_results(self) -> ResultFormat:
        """How values come back, the default worked out."""
        assert self.results is not None
        return self.results

    @classmethod
    def off(cls, **changes: Any) -> SandboxPolicy:
        """No confinement: for code that may be wrong but is not hostile."""
        return cls(SandboxLevel.OFF, **changes)

    @classmethod
    def standard(cls, **changes: Any) -> SandboxPolicy:
        """Every step that this machine allows."""
        return cls(SandboxLevel.STANDARD, **changes)

    @classmethod
    def strict(cls, **changes: Any) -> SandboxPolicy:
        """Every step, or nothing is run."""
        return cls(SandboxLevel.STRICT, **changes)

    @classmethod
    def named(cls, name: str) -> SandboxPolicy:
        """The preset of that name."""
        return cls(_choice("level", name, SandboxLevel))

    def replace(self, **changes: Any) -> SandboxPolicy:
        """A copy with other values in some fields."""
        return replace(self, **changes)


def _choice(name: str, value: Any, choices: type[enum.StrEnum]) -> Any:
    try:
        return choices(value)
    except ValueError:
        known = ", ".join(repr(str(choice)) for choice in choices)
        raise ConfigurationError(f"{name} must be one of {known}, not {value!r}") from None


def _folders(name: str, paths: Any) -> tuple[str, ...]:
    # A plain string is a collection too, of its letters.
    if isinstance(paths, str) or not isinstance(paths, Iterable):
        raise ConfigurationError(f"{name} must be a list of paths, not {paths!r}")
    found = []
    for path in paths:
        try:
            text = os.fsdecode(os.fspath(path))
        except TypeError:
            raise ConfigurationError(f"{name} must hold paths, not {path!r}") from None
        if not text or "\0" in text:
            raise ConfigurationError(f"{name} holds {text!r}, which is no path")
        found.append(os.path.abspath(text))
    return tuple(found)
