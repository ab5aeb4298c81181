"""Signals while a command waits."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from gigaexec.cli.exit_codes import Interrupted
from gigaexec.cli.interrupt import run_interruptibly


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_cancels_and_lets_the_cleanup_finish(number: signal.Signals) -> None:
    seen = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), number)
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            seen.append("cleaned")

    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as raised:
        run_interruptibly(work())
    assert raised.value.signal_name == number.name
    assert seen == ["cleaned"]
    assert signal.getsignal(number) is before


def test_value_and_error_pass_through() -> None:
    async def answer() -> int:
        return 42

    async def fail() -> None:
        raise ValueError("mine")

    assert run_interruptibly(answer()) == 42
    with pytest.raises(ValueError, match="mine"):
        run_interruptibly(fail())
