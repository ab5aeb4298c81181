"""The sandbox policy: what a confined program may see and do."""

from __future__ import annotations

import enum
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from gigaexec.errors import ConfigurationError


class SandboxLevel(enum.StrEnum):
    """The degree to which a program is confined."""

    OFF = "off"
    """No confinement: the program may do what the user may. Its processes still end with its call."""
    STANDARD = "standard"
    """Every protection that this machine offers; `Outcome.confinement` lists them."""
    STRICT = "strict"
    """Every protection. If one is missing, no program is run."""


class ResultFormat(enum.StrEnum):
    """The format of a return value on its way to the driver."""

    PICKLE = "pickle"
    """Any value that cloudpickle can pickle. Reading it runs code that the program chose, in the driver."""
    DATA = "data"
    """Plain data only. Reading it runs no code of the program."""


@dataclass(frozen=True, slots=True)
class SandboxPolicy:
    """The files, network and result format that a program may use. Checked on creation.

    Use one of the presets `SandboxPolicy.off()`, `.standard()` and `.strict()`, with changes where needed:
    `SandboxPolicy.standard(read=["/data"])`.

    Under `standard` and `strict` a program can read the interpreter and its libraries, `sys.path`, the call's
    `python_path` and the paths in `read`. It can write to a scratch folder, which is its current folder, HOME
    and TMPDIR, and is removed after the call. It has no network and no capabilities, and sees no other
    processes. If a folder of `sys.path` or `python_path` contains the home folder or the spill directory, the
    program can only list that folder and read the modules directly in it; `/` is ignored.

    Args:
        level: The preset.
        read: Further files and folders that the program may read.
        write: Files and folders that the program may read and write.
        network: Allow the whole network (IPv4 and IPv6). Unix sockets stay forbidden.
        results: Format of return values. None means `data` for a confined program, otherwise `pickle`.

    Raises:
        ConfigurationError: A value is invalid (a `ValueError`).
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
            raise ConfigurationError(f"network must be a bool, not {self.network!r:.80}")
        results = self.results
        if results is None:
            results = ResultFormat.DATA if self.confines else ResultFormat.PICKLE
        object.__setattr__(self, "results", _choice("results", results, ResultFormat))
        if not self.confines and (self.read or self.write or self.network):
            raise ConfigurationError(
                "read, write and network need a sandbox; choose the level standard or strict"
            )

    @property
    def confines(self) -> bool:
        """True unless the level is `off`."""
        return self.level is not SandboxLevel.OFF

    @property
    def format_of_results(self) -> ResultFormat:
        """The format of return values, with the default resolved."""
        assert self.results is not None
        return self.results

    @classmethod
    def off(cls, **changes: Any) -> SandboxPolicy:
        """No confinement: for code that may be wrong but is not hostile."""
        return cls(SandboxLevel.OFF, **changes)

    @classmethod
    def standard(cls, **changes: Any) -> SandboxPolicy:
        """Every protection that this machine offers."""
        return cls(SandboxLevel.STANDARD, **changes)

    @classmethod
    def strict(cls, **changes: Any) -> SandboxPolicy:
        """Every protection; if one is missing, no program is run."""
        return cls(SandboxLevel.STRICT, **changes)

    @classmethod
    def named(cls, name: str) -> SandboxPolicy:
        """Return the preset of that name."""
        return cls(_choice("level", name, SandboxLevel))

    def replace(self, **changes: Any) -> SandboxPolicy:
        """Return a copy with changed fields."""
        return replace(self, **changes)


def _choice(name: str, value: Any, choices: type[enum.StrEnum]) -> Any:
    try:
        return choices(value)
    except ValueError:
        known = ", ".join(repr(str(choice)) for choice in choices)
        raise ConfigurationError(f"{name} must be one of {known}, not {value!r}") from None


def _folders(name: str, paths: Any) -> tuple[str, ...]:
    # A str is a collection too, of its letters.
    if isinstance(paths, str) or not isinstance(paths, Iterable):
        raise ConfigurationError(f"{name} must be a list of paths, not {type(paths).__name__}: {paths!r:.80}")
    found = []
    for path in paths:
        try:
            text = os.fsdecode(os.fspath(path))
        except TypeError:
            raise ConfigurationError(
                f"{name} must hold paths, not {type(path).__name__}: {path!r:.80}"
            ) from None
        if not text or "\0" in text:
            raise ConfigurationError(f"{name} must hold paths, not {text!r:.80}")
        found.append(os.path.abspath(text))
    return tuple(found)
