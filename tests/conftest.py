"""Give each test its own spill directory, and check that it leaks no process, thread, descriptor or file."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

import gigaexec

WaitUntil = Callable[..., None]


def wait_until(
    check: Callable[[], object], timeout_s: float = 10.0, what: str | Callable[[], str] = ""
) -> None:
    """Poll `check` until it returns true, or raise AssertionError after `timeout_s` seconds.

    Args:
        check: The condition.
        timeout_s: Limit of the time to wait.
        what: The expected state or the state found, for the error. A function is called after the timeout.
    """
    limit = time.monotonic() + timeout_s
    while not check():
        if time.monotonic() >= limit:
            raise AssertionError(
                f"timed out after {timeout_s} s: {what() if callable(what) else what or check}"
            )
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def spill_dir(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default spill directory of the test, which the test must leave empty."""
    folder = tmp_path_factory.mktemp("spill") / "spill"
    monkeypatch.setenv("GIGAEVO_EXECUTOR_SPILL_DIR", str(folder))
    return folder


@pytest.fixture(autouse=True)
def nothing_left_behind(spill_dir: Path) -> Iterator[None]:
    """Fail a test that leaves a process, thread, descriptor or spill file behind, and list what it left."""
    before = _resources_in_use()
    yield
    gigaexec.shutdown_executor(wait=True)
    limit = time.monotonic() + 5.0
    while (leaked := _leaked(before, spill_dir)) and time.monotonic() < limit:
        gc.collect()
        time.sleep(0.02)
    assert not leaked, f"left behind: {leaked}"


def _leaked(before: dict[str, set[str]], spill_dir: Path) -> list[str]:
    leaked = [
        f"{kind}: {name}" for kind, names in _resources_in_use().items() for name in names - before[kind]
    ]
    if spill_dir.exists():
        leaked += [f"spill file: {file.name}" for file in spill_dir.iterdir()]
    return leaked


def _resources_in_use() -> dict[str, set[str]]:
    return {
        "process": set(_processes()),
        "thread": {f"{thread.name} ({thread.ident})" for thread in threading.enumerate()},
        "descriptor": set(_descriptors()),
    }


def _processes() -> Iterator[str]:
    for process in psutil.Process().children(recursive=True):
        try:
            command = " ".join(process.cmdline())
        except psutil.NoSuchProcess:
            continue
        except psutil.ZombieProcess:
            command = "(zombie)"
        yield f"{process.pid} {command}"


def _descriptors() -> Iterator[str]:
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except FileNotFoundError:
            continue
        # Ignore the descriptor of the listed folder, and files that pytest opens and closes.
        if not target.startswith("/proc/") and "pytest" not in target:
            yield f"{descriptor.name} -> {target}"
