"""The backends that the contract suite runs over. A new backend is added here, and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gigaexec import ForkserverBackend, LokyBackend, Outcome, WorkerCall, WorkerConfig
from tests.contract.recorded_pids import RecordedPids


@dataclass(frozen=True)
class Kind:
    """A backend under test.

    Args:
        make: Makes one.
        reuses_workers: Whether one process runs one call after another.
        names_results: Whether a large result comes in a file of the spill directory that has a name.
        knows_cost_of_killed: Whether a call that did not answer has metrics as well.
    """

    make: Callable[[WorkerConfig], Any]
    reuses_workers: bool
    names_results: bool
    knows_cost_of_killed: bool


BACKENDS = {
    "loky": Kind(LokyBackend, reuses_workers=True, names_results=True, knows_cost_of_killed=False),
    "forkserver": Kind(
        ForkserverBackend, reuses_workers=False, names_results=False, knows_cost_of_killed=True
    ),
}

MakeBackend = Callable[..., Any]
Run = Callable[..., Outcome]


@pytest.fixture(params=sorted(BACKENDS))
def kind(request: pytest.FixtureRequest) -> Kind:
    """Properties of the backend under test."""
    return BACKENDS[request.param]


@pytest.fixture
def needs_reuse(kind: Kind) -> None:
    """For tests of what becomes of a worker between its calls."""
    if not kind.reuses_workers:
        pytest.skip("each of its processes runs one call")


@pytest.fixture
def needs_named_results(kind: Kind) -> None:
    """For tests of files in the spill directory."""
    if not kind.names_results:
        pytest.skip("its results come in files without a name")


@pytest.fixture
def make_backend(kind: Kind, spill_dir: Path) -> Iterator[MakeBackend]:
    """Makes backends of the kind under test: `make_backend(max_workers=2, ...)`. They are shut down after."""
    made: list[Any] = []

    def make(**settings: Any) -> Any:
        backend = kind.make(WorkerConfig(**{"max_workers": 2, "spill_dir": spill_dir, **settings}))
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
    """A file for programs to write processes into. Those that still run at the end are killed."""
    recorded = RecordedPids(tmp_path / "pids")
    yield recorded
    recorded.kill()
