"""The backends that the contract suite runs on, and its fixtures. Add a new backend to `BACKENDS` only."""

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
        make: Creates a backend from a configuration.
        reuses_workers: True if a worker process runs several calls in sequence.
        names_results: True if a large result arrives in a named file of the spill directory.
        knows_cost_of_killed: True if a call whose worker was killed has metrics.
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
    """The kind of backend under test."""
    return BACKENDS[request.param]


@pytest.fixture
def needs_reuse(kind: Kind) -> None:
    """Skip the test if workers run one call only."""
    if not kind.reuses_workers:
        pytest.skip("each worker of this backend runs one call only")


@pytest.fixture
def needs_named_results(kind: Kind) -> None:
    """Skip the test if large results have no named file in the spill directory."""
    if not kind.names_results:
        pytest.skip("large results of this backend arrive in unlinked files")


@pytest.fixture
def make_backend(kind: Kind, spill_dir: Path) -> Iterator[MakeBackend]:
    """A factory of backends, `make_backend(max_workers=2, ...)`, shut down after the test."""
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
    """A function `run(code, *args, function="f", deadline_s=30.0, ...)` that returns a call's outcome."""

    def run_one(
        code: str, *args: Any, function: str = "f", deadline_s: float = 30.0, **fields: Any
    ) -> Outcome:
        call = WorkerCall(code=code, function_name=function, args=list(args), **fields)
        outcome: Outcome = asyncio.run(backend.run(call, deadline_s=deadline_s))
        return outcome

    return run_one


@pytest.fixture
def pids(tmp_path: Path) -> Iterator[RecordedPids]:
    """A file in which programs record processes; recorded processes are killed after the test."""
    recorded = RecordedPids(tmp_path / "pids")
    yield recorded
    recorded.kill()
