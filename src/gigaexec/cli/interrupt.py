"""Ctrl-C and SIGTERM for commands that wait for workers."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from gigaexec.cli.exit_codes import Interrupted

_T = TypeVar("_T")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run_interruptibly(main: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine in a new event loop, as `asyncio.run` does.

    The first SIGINT or SIGTERM cancels it, so that its `finally` clauses end the workers. A second one
    has its usual effect; workers die with this process then.

    Raises:
        Interrupted: A signal stopped it.
    """
    return asyncio.run(_watch(main))


async def _watch(main: Coroutine[Any, Any, _T]) -> _T:
    loop = asyncio.get_running_loop()
    task = loop.create_task(main)
    received: list[int] = []

    def stop(signal_number: int) -> None:
        received.append(signal_number)
        restore()
        task.cancel()

    def restore() -> None:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not received:
            raise
        raise Interrupted(received[0]) from None
    finally:
        restore()
