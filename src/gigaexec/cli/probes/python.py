"""Python, the operating system and the installed packages."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Iterator

from gigaexec import __version__
from gigaexec.cli.probes.finding import Finding, State

_TESTED_PYTHONS = ((3, 11), (3, 14))
_REQUIRED = ("loky", "cloudpickle", "msgspec", "psutil")
_EXTRAS = {"stages": ("pydantic", "PyYAML"), "cli": ("typer", "rich")}


def probe_platform() -> Finding:
    """The operating system and the processor."""
    fact = f"{platform.system()} {platform.release()} on {platform.machine()}"
    data = {"system": platform.system(), "release": platform.release(), "machine": platform.machine()}
    if platform.system() == "Linux":
        return Finding("platform", State.OK, fact, data=data)
    if platform.system() == "Darwin":
        advice = (
            "Workers run, but a C loop delays their end with the driver; Linux is where everything holds."
        )
        return Finding("platform", State.WARNING, fact, advice, data)
    return Finding(
        "platform", State.PROBLEM, fact, "gigaexec runs on Linux and macOS; use WSL 2 on Windows.", data
    )


def probe_python() -> Finding:
    """The interpreter, which is also the one that workers run."""
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
    """gigaexec, what it needs, and the parts that are optional."""
    versions = {name: _version(name) for name in _REQUIRED}
    missing = [name for name, version in versions.items() if version is None]
    fact = f"{__version__}, with " + ", ".join(f"{name} {version}" for name, version in versions.items())
    advice = f"Install what is missing: pip install {' '.join(missing)}" if missing else ""
    data = {"version": __version__, "packages": versions}
    yield Finding("gigaexec", State.PROBLEM if missing else State.OK, fact, advice, data)
    for extra, packages in _EXTRAS.items():
        yield _probe_extra(extra, packages)


def _probe_extra(extra: str, packages: tuple[str, ...]) -> Finding:
    versions = {name: _version(name) for name in packages}
    missing = [name for name, version in versions.items() if version is None]
    fact = ", ".join(f"{name} {version or 'is missing'}" for name, version in versions.items())
    advice = f'Install it: pip install "gigaexec[{extra}]"' if missing else ""
    return Finding(
        f"extra {extra}", State.WARNING if missing else State.OK, fact, advice, {"packages": versions}
    )


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
