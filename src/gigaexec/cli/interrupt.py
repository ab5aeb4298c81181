"""Handle SIGINT (Ctrl-C), SIGTERM and SIGHUP while a command waits for workers."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from types import FrameType
from typing import Any, TypeVar

from gigaexec.cli.exit_codes import STOP_SIGNALS, Interrupted

_T = TypeVar("_T")


def run_interruptibly(main: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine in a new event loop, as `asyncio.run` does, until it ends or a signal arrives.

    The first of `STOP_SIGNALS` cancels the coroutine, whose `finally` clauses end the workers. From then on
    these signals are ignored until the process ends, so a second Ctrl-C cannot interrupt the cleanup. A
    signal that this process ignored from its start stays ignored, such as SIGHUP under nohup.

    Raises:
        Interrupted: A signal arrived. The coroutine has ended.
    """
    return asyncio.run(_watch(main))


async def _watch(main: Coroutine[Any, Any, _T]) -> _T:
    loop = asyncio.get_running_loop()
    task = loop.create_task(main)
    received: list[int] = []

    # loop.add_signal_handler is not used: when such a handler is removed, the default action of the signal is
    # active for a moment.
    def stop(signal_number: int, _: FrameType | None) -> None:
        if not received:
            received.append(signal_number)
            loop.call_soon_threadsafe(task.cancel)

    handled = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in handled}
    try:
        return await task
    except asyncio.CancelledError:
        if not received:
            raise
        raise Interrupted(received[0]) from None
    finally:
        if not received:
            for number, handler in before.items():
                signal.signal(number, handler)
