"""Large arguments: shared by calls without a copy, or private to a call."""

from __future__ import annotations

import asyncio
import errno
import gc
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gigaexec import InvalidCallError, Limits, Outcome, OutcomeStatus, WorkerCall
from gigaexec.pool import worker_channel
from gigaexec.wire import descriptors
from tests.contract.conftest import MakeBackend, Run

_MB = 2**20
_IMPORTS_NUMPY = "import numpy\n"


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_shared_value_is_equal_in_many_calls(backend: Any) -> None:
    value = {"array": np.arange(300_000), "text": "x" * 100_000, "nested": [(1, b"y" * 200_000)]}
    share = backend.share(value)
    code = """
def f(value, factor):
    return int(value["array"].sum()) * factor, len(value["text"]), value["nested"] == [(1, b"y" * 200_000)]
"""

    async def many() -> list[Any]:
        calls = [WorkerCall(code, "f", [share, factor]) for factor in range(8)]
        return list(await asyncio.gather(*(backend.execute(call, deadline_s=30) for call in calls)))

    total = int(value["array"].sum())  # type: ignore[attr-defined]
    assert asyncio.run(many()) == [(total * factor, 100_000, True) for factor in range(8)]


def test_a_share_may_be_nested_in_the_arguments(run: Run, backend: Any) -> None:
    large, small = backend.share(np.arange(200_000)), backend.share({"a": 1})
    code = """
def f(data, *, more, own):
    (one, two), three = data, more["key"]
    return one[-1], two, three[0][-1], own[-1]
"""

    async def call() -> Any:
        own = np.arange(300_000)
        kwargs = {"more": {"key": [large]}, "own": own}
        return await backend.execute(WorkerCall(code, "f", [(large, small)], kwargs), deadline_s=30)

    assert asyncio.run(call()) == (199_999, {"a": 1}, 199_999, 299_999)
    assert run("def f(value): return value", small).value == {"a": 1}


def test_shared_arrays_are_read_only(run: Run, backend: Any) -> None:
    array = np.zeros(200_000)
    share = backend.share(array)
    refused = run("def f(a): a[0] = 1", share)
    assert "read-only" in str(refused.error)
    assert run("def f(a): return float(a.sum()), a.flags.writeable", share).value == (0.0, False)


def test_an_array_that_is_not_shared_is_a_writable_copy(run: Run) -> None:
    array = np.zeros(2 * _MB)
    code = "def f(a):\n    a += 1\n    return float(a.sum()), a.flags.writeable"
    for _ in range(2):
        assert run(code, array).value == (float(2 * _MB), True)
    assert not array.any()


def test_a_share_does_not_add_to_the_memory_peak_of_calls_that_barely_read_it(backend: Any) -> None:
    share = backend.share(np.ones(25 * _MB))  # 200 MiB
    assert 200 * _MB <= share.size_bytes < 201 * _MB

    async def peaks() -> list[int]:
        codes = ["def f(a): return a.size", "def f(a): return float(a[-1])"]
        calls = [WorkerCall(f"{_IMPORTS_NUMPY}def f(a): pass", "f", [0])]
        calls += [WorkerCall(_IMPORTS_NUMPY + code, "f", [share]) for code in codes]
        outcomes: list[Outcome] = [await backend.run(call, deadline_s=30) for call in calls]
        assert [outcome.value for outcome in outcomes] == [None, 25 * _MB, 1.0]
        return [outcome.metrics.peak_rss_kb for outcome in outcomes if outcome.metrics is not None]

    without, *with_share = asyncio.run(peaks())
    assert max(with_share) - without < 20 * 1024


def test_concurrent_calls_have_no_private_copy_of_a_share(backend: Any) -> None:
    share = backend.share(np.ones(12 * _MB))  # 96 MiB
    code = """
def f(a):
    total = float(a.sum())
    with open("/proc/self/status") as file:
        fields = dict(line.split(":") for line in file if line.count(":") == 1)
    return total, int(fields["RssAnon"].split()[0])
"""

    async def both() -> list[Any]:
        calls = [WorkerCall(code, "f", [share]) for _ in range(2)]
        return list(await asyncio.gather(*(backend.execute(call, deadline_s=30) for call in calls)))

    for total, private_kb in asyncio.run(both()):
        assert total == 12 * _MB
        assert private_kb < 60 * 1024


def test_a_share_does_not_count_towards_memory_bytes(backend: Any) -> None:
    share = backend.share(np.ones(25 * _MB))
    code = "import time\ndef f(a):\n    total = float(a.sum())\n    time.sleep(0.2)\n    return total"
    limits = Limits(memory_bytes=120 * _MB)
    outcome = asyncio.run(backend.run(WorkerCall(code, "f", [share]), deadline_s=30, limits=limits))
    assert outcome.value == 25 * _MB, outcome.error


def test_a_call_can_use_a_share_that_the_caller_has_dropped(make_backend: MakeBackend) -> None:
    backend = make_backend(max_workers=1)
    code = "import time\ndef f(a):\n    time.sleep(0.1)\n    return float(a.sum())"

    async def drop_shares() -> list[Any]:
        await backend.execute(WorkerCall("def f(): pass", "f"), deadline_s=30)
        tasks = [
            asyncio.create_task(
                backend.execute(WorkerCall(code, "f", [backend.share(np.ones(_MB))]), deadline_s=30)
            )
            for _ in range(3)
        ]
        await asyncio.sleep(0)
        gc.collect()
        return list(await asyncio.gather(*tasks))

    assert asyncio.run(drop_shares()) == [float(_MB)] * 3


def test_a_dropped_share_releases_its_descriptor(backend: Any) -> None:
    before = _descriptors()
    share = backend.share(b"x" * _MB)
    assert _descriptors() == before + 1
    del share
    gc.collect()
    assert _descriptors() == before


def test_an_unpicklable_value_is_refused_at_once(backend: Any) -> None:
    with pytest.raises(InvalidCallError, match="type lock cannot be pickled"):
        backend.share(threading.Lock())


def test_a_share_cannot_be_pickled_outside_of_a_call(backend: Any) -> None:
    with pytest.raises(TypeError, match="can be pickled only as an argument"):
        pickle.dumps(backend.share(1))


def test_r33_a_call_that_cannot_be_sent_is_infrastructure_and_the_next_one_runs(
    backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(backend.run(WorkerCall("def f(): return 1", "f"), deadline_s=30.0))
    send = descriptors.send_with_descriptors
    # One refusal for each of two workers: after the first, the pool sends the call to the second.
    refusals = [OSError(errno.ETOOMANYREFS, "Too many references: cannot splice") for _ in range(2)]

    def send_or_refuse(*arguments: Any) -> int:
        if refusals:
            raise refusals.pop()
        return send(*arguments)

    monkeypatch.setattr(worker_channel, "send_with_descriptors", send_or_refuse)
    call = WorkerCall("def f(x): return x", "f", [backend.share("shared")])
    refused = asyncio.run(backend.run(call, deadline_s=30.0))
    assert refused.status is OutcomeStatus.INFRASTRUCTURE
    assert "Too many references" in str(refused.error)
    assert asyncio.run(backend.execute(call, deadline_s=30.0)) == "shared"
