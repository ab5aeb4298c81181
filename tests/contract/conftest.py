"""The backends that the contract suite runs over. A new backend is added here, and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gigaexec import LokyBackend, Outcome, WorkerCall, WorkerConfig
from tests.contract.recorded_pids import RecordedPids

BACKENDS: dict[str, Callable[[WorkerConfig], Any]] = {"loky": LokyBackend}

MakeBackend = Callable[..., Any]
Run = Callable[..., Outcome]


@pytest.fixture(params=sorted(BACKENDS))
def make_backend(request: pytest.FixtureRequest, spill_dir: Path) -> Iterator[MakeBackend]:
    """Makes backends of the kind under test: `make_backend(max_workers=2, ...)`. They are shut down after."""
    made: list[Any] = []

    def make(**settings: Any) -> Any:
        backend = BACKENDS[request.param](
            WorkerConfig(**{"max_workers": 2, "spill_dir": spill_dir, **settings})
        )
        made.append(backend)
        return backend

    yield make
    for backend in made:
        asyncio.run(backend.shutdown(wait=True))


@pytest.fixture
def backend(make_backend: MakeBackend) -> Any:
    """A backend with two workers."""
    return make_backend()


@pytest.fixture
def run(backend: Any) -> Run:
    """Runs one call: `run(code, *args, function="f", deadline_s=30.0, ...)` gives its outcome."""

    def run_one(
        code: str, *args: Any, function: str = "f", deadline_s: float = 30.0, **fields: Any
    ) -> Outcome:
        call = WorkerCall(code=code, function_name=function, args=list(args), **fields)
        outcome: Outcome = asyncio.run(backend.run(call, deadline_s=deadline_s))
        return outcome

    return run_one


@pytest.fixture
def pids(tmp_path: Path) -> Iterator[RecordedPids]:
    """A file for programs to write process ids into. Those that still run at the end are killed."""
    recorded = RecordedPids(tmp_path / "pids")
    yield recorded
    recorded.kill()
