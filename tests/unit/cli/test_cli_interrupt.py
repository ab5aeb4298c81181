"""Signals that arrive while a command runs a coroutine."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from gigaexec.cli.exit_codes import STOP_SIGNALS, Interrupted
from gigaexec.cli.interrupt import run_interruptibly


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Restore the handlers that an interrupted run leaves in place until its process ends."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_signal_cancels_and_lets_the_cleanup_finish(number: signal.Signals) -> None:
    seen = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), number)
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            seen.append("cleaned")

    with pytest.raises(Interrupted) as raised:
        run_interruptibly(work())
    assert raised.value.signal_name == number.name
    assert seen == ["cleaned"]


@pytest.mark.parametrize("later", STOP_SIGNALS)
def test_signals_after_the_first_change_nothing(later: signal.Signals) -> None:
    seen = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            for _ in range(10):
                os.kill(os.getpid(), later)
                await asyncio.sleep(0)
            seen.append("cleaned")

    with pytest.raises(Interrupted) as raised:
        run_interruptibly(work())
    os.kill(os.getpid(), later)  # arrives after the run, as during interpreter exit
    assert raised.value.signal_number == signal.SIGINT
    assert seen == ["cleaned"]


def test_value_and_error_pass_through_and_handlers_come_back() -> None:
    before = [signal.getsignal(number) for number in STOP_SIGNALS]

    async def answer() -> int:
        return 42

    async def fail() -> None:
        raise ValueError("mine")

    assert run_interruptibly(answer()) == 42
    with pytest.raises(ValueError, match="mine"):
        run_interruptibly(fail())
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before


def test_r110_a_signal_that_was_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    async def work() -> str:
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0)
        return "done"

    assert run_interruptibly(work()) == "done"
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
