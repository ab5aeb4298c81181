"""The sandbox policy: the files, the network and the result format that a confined program may use."""

from __future__ import annotations

import enum
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from gigaexec.errors import ConfigurationError


class SandboxLevel(enum.StrEnum):
    """The level of confinement of a program."""

    OFF = "off"
    """No confinement: the program has all rights of the user. All its processes still end with the call."""
    STANDARD = "standard"
    """Every protection that this machine offers. `Outcome.confinement` says which ones are in force."""
    STRICT = "strict"
    """Every protection. If any protection is missing, no program runs and calls end with `SandboxError`."""


class ResultFormat(enum.StrEnum):
    """The format in which a worker sends return values to the driver."""

    PICKLE = "pickle"
    """The data format for plain data, and a pickle for any other value that cloudpickle can pickle.
    Unpickling can run any code of the program in the driver."""
    DATA = "data"
    """The data format: numbers, texts, containers, arrays and other plain types. Decoding runs no code of the
    program."""


@dataclass(frozen=True, slots=True)
class SandboxPolicy:
    """The files, the network and the result format that a program may use. Checked on creation.

    Use one of the presets `SandboxPolicy.off()`, `.standard()` and `.strict()`, with changes if needed:
    `SandboxPolicy.standard(read=["/data"])`.

    Under `standard` and `strict` a program can read the interpreter and its libraries, everything on the
    driver's `sys.path`, the call's `python_path` and the paths in `read`. The program can write to a scratch
    folder, which is its current folder, HOME and TMPDIR. The scratch folder is removed after the call. The
    program has no network and no capabilities, and sees no other processes.

    If a folder of `sys.path` or `python_path` contains the home folder or the spill directory, the program
    can only list that folder and read the modules directly in it. The folder `/` is ignored.

    Args:
        level: A `SandboxLevel` or its value, such as "strict". Default: `off`.
        read: Further files and folders that the program may read, with everything below them. Strings or
            `os.PathLike`; relative paths are made absolute on creation. Paths that do not exist are ignored.
            Default: none.
        write: Files and folders that the program may read and write, with everything below them. Every path
            must exist: otherwise the step `read_only_mounts` fails, and `strict` runs no program. Default:
            none.
        network: True to allow the whole network (IPv4 and IPv6), loopback included. Unix sockets stay
            forbidden. Default: no network.
        results: A `ResultFormat` or its value, such as "data". None means `data` for the levels `standard`
            and `strict`, and `pickle` for `off`.

    Raises:
        ConfigurationError: A value is invalid, or `read`, `write` or `network` is set for the level `off`. A
            `ConfigurationError` is also a `ValueError`.
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
                "read, write and network cannot be set at the level off; choose the level standard or strict"
            )

    @property
    def confines(self) -> bool:
        """True unless the level is `off`."""
        return self.level is not SandboxLevel.OFF

    @property
    def format_of_results(self) -> ResultFormat:
        """The format of return values: `results`, which is never None after creation."""
        assert self.results is not None
        return self.results

    @classmethod
    def off(cls, **changes: Any) -> SandboxPolicy:
        """Return a policy without confinement, for code that may be wrong but is not hostile.

        Args:
            **changes: Values for fields of the policy other than `level`.
        """
        return cls(SandboxLevel.OFF, **changes)

    @classmethod
    def standard(cls, **changes: Any) -> SandboxPolicy:
        """Return a policy with every protection that this machine offers.

        Args:
            **changes: Values for fields of the policy other than `level`.
        """
        return cls(SandboxLevel.STANDARD, **changes)

    @classmethod
    def strict(cls, **changes: Any) -> SandboxPolicy:
        """Return a policy with every protection. If any protection is missing, no program runs.

        Args:
            **changes: Values for fields of the policy other than `level`.
        """
        return cls(SandboxLevel.STRICT, **changes)

    @classmethod
    def named(cls, name: str) -> SandboxPolicy:
        """Return the preset policy of a level.

        Args:
            name: The level: "off", "standard" or "strict".

        Raises:
            ConfigurationError: No level has that name.
        """
        return cls(_choice("level", name, SandboxLevel))

    def replace(self, **changes: Any) -> SandboxPolicy:
        """Return a copy with changed fields.

        A copy with another `level` keeps the `results` of this policy, even if `results` was chosen by
        default.

        Args:
            **changes: New values of fields.
        """
        return replace(self, **changes)


def _choice(name: str, value: Any, choices: type[enum.StrEnum]) -> Any:
    try:
        return choices(value)
    except ValueError:
        known = ", ".join(repr(str(choice)) for choice in choices)
        raise ConfigurationError(f"{name} must be one of {known}, not {value!r:.80}") from None


def _folders(name: str, paths: Any) -> tuple[str, ...]:
    # A str must be refused explicitly: it is iterable, and each letter would become a path.
    if isinstance(paths, str) or not isinstance(paths, Iterable):
        raise ConfigurationError(f"{name} must be a list of paths, not {type(paths).__name__}: {paths!r:.80}")
    found = []
    for path in paths:
        try:
            text = os.fsdecode(os.fspath(path))
        except TypeError:
            raise ConfigurationError(
                f"{name} must contain only paths, not {type(path).__name__}: {path!r:.80}"
            ) from None
        if not text or "\0" in text:
            raise ConfigurationError(
                f"{name} must contain only non-empty paths without NUL, not {text!r:.80}"
            )
        found.append(os.path.abspath(text))
    return tuple(found)
