"""R33: a worker that is killed from outside while it has no call harms no call."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

from gigaexec import WorkerCall

REPORT_PID = "import os\ndef f():\n    return os.getpid()\n"


def test_r33_a_call_given_to_a_worker_that_was_just_killed_runs_on_another(
    make_backend: Callable[..., Any],
) -> None:
    backend = make_backend(max_workers=1)
    call = WorkerCall(REPORT_PID, "f")

    async def kill_between_calls() -> None:
        for _ in range(10):
            killed = await backend.execute(call, deadline_s=30.0)
            os.kill(killed, signal.SIGKILL)
            assert await backend.execute(call, deadline_s=30.0) != killed

    asyncio.run(kill_between_calls())
