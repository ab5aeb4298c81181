"""R33: the death of an idle worker affects no call."""

from __future__ import annotations

import asyncio
import os
import signal

from gigaexec import Outcome, WorkerCall
from tests.contract.conftest import MakeBackend

_ONE = WorkerCall("def f(): return 1", "f")


def test_r33_a_call_sent_to_a_worker_that_was_just_killed_runs_on_another(make_backend: MakeBackend) -> None:
    backend = make_backend(max_workers=1)
    alive: dict[str, int] = {}
    backend.on_worker_start(alive.__setitem__)
    backend.on_worker_exit(lambda worker_id, *_: alive.pop(worker_id))

    async def kill_between_calls() -> None:
        for _ in range(10):
            while not alive:  # with one call per worker, not every call leaves an idle worker
                assert (await backend.execute(_ONE, deadline_s=30.0)) == 1
            worker_id, pid = list(alive.items())[-1]  # the pool uses the most recently idle worker first
            os.kill(pid, signal.SIGKILL)
            outcome: Outcome = await backend.run(_ONE, deadline_s=30.0)
            assert outcome.value == 1, outcome.error
            assert outcome.metrics is not None
            assert outcome.metrics.worker_id != worker_id

    asyncio.run(kill_between_calls())
