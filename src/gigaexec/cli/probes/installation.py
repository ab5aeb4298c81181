"""Probes of the operating system, Python, the installed packages and the settings in the environment."""

from __future__ import annotations

import importlib.metadata
import logging
import platform
import sys
from collections.abc import Iterator

from gigaexec import __version__
from gigaexec.cli.probes.finding import Finding, State
from gigaexec.config import WorkerConfig

_TESTED_PYTHONS = ((3, 11), (3, 14))
_REQUIRED = ("loky", "cloudpickle", "msgspec", "psutil")
_EXTRAS = {"stages": ("pydantic", "PyYAML"), "cli": ("typer", "rich")}


def probe_platform() -> Finding:
    """Report the operating system and the processor architecture."""
    fact = f"{platform.system()} {platform.release()} on {platform.machine()}"
    data = {"system": platform.system(), "release": platform.release(), "machine": platform.machine()}
    if platform.system() == "Linux":
        return Finding("platform", State.OK, fact, data=data)
    if platform.system() == "Darwin":
        advice = (
            "Workers run, but there is no sandbox, and if the driver dies, a worker in a loop of C code ends "
            "late. Linux has neither restriction."
        )
        return Finding("platform", State.WARNING, fact, advice, data)
    advice = "gigaexec runs on Linux and macOS. On Windows, use WSL 2."
    return Finding("platform", State.PROBLEM, fact, advice, data)


def probe_python() -> Finding:
    """Report the Python interpreter, which workers use too."""
    version = platform.python_version()
    fact = f"{platform.python_implementation()} {version} at {sys.executable}"
    data = {
        "version": version,
        "implementation": platform.python_implementation(),
        "executable": sys.executable,
    }
    first, last = _TESTED_PYTHONS
    if platform.python_implementation() == "CPython" and first <= sys.version_info[:2] <= last:
        return Finding("Python", State.OK, fact, data=data)
    tested = f"CPython {first[0]}.{first[1]} to {last[0]}.{last[1]}"
    return Finding("Python", State.WARNING, fact, f"gigaexec is tested on {tested}.", data)


def probe_packages() -> Iterator[Finding]:
    """Report the versions of gigaexec, of the packages that it requires, and of optional packages."""
    versions = {name: _version(name) for name in _REQUIRED}
    missing = [name for name, version in versions.items() if version is None]
    fact = f"{__version__}, with " + ", ".join(f"{name} {version}" for name, version in versions.items())
    advice = f"Run: pip install {' '.join(missing)}" if missing else ""
    data = {"version": __version__, "packages": versions}
    yield Finding("gigaexec", State.PROBLEM if missing else State.OK, fact, advice, data)
    for extra, packages in _EXTRAS.items():
        yield _probe_extra(extra, packages)


def _probe_extra(extra: str, packages: tuple[str, ...]) -> Finding:
    versions = {name: _version(name) for name in packages}
    missing = [name for name, version in versions.items() if version is None]
    fact = ", ".join(f"{name} {version or 'is missing'}" for name, version in versions.items())
    advice = f'Run: pip install "gigaexec[{extra}]"' if missing else ""
    return Finding(
        f"extra {extra}", State.WARNING if missing else State.OK, fact, advice, {"packages": versions}
    )


def read_settings() -> tuple[WorkerConfig, list[Finding]]:
    """Return `WorkerConfig.from_env()`, and a finding for each environment variable with a wrong value."""
    collector = _MessageCollector(logging.WARNING)
    config_logger = logging.getLogger("gigaexec.config")
    propagates, config_logger.propagate = config_logger.propagate, False
    config_logger.addHandler(collector)
    try:
        config = WorkerConfig.from_env()
    finally:
        config_logger.removeHandler(collector)
        config_logger.propagate = propagates
    advice = "Correct the variable, or unset it."
    return config, [Finding("settings", State.WARNING, text, advice) for text in collector.messages]


class _MessageCollector(logging.Handler):
    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
