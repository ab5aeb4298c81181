"""R104: pickles are decoded on few threads, each within a limit of time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from gigaexec.errors import InfrastructureError, ValueNotReadableError
from gigaexec.pool import decoding_threads
from gigaexec.pool.decoding_threads import MAX_THREADS, DecodingThreads
from tests.conftest import wait_until


def test_a_value_is_decoded_on_a_daemon_thread() -> None:
    thread = asyncio.run(DecodingThreads().run(threading.current_thread, 5.0))
    assert thread.daemon
    assert thread is not threading.current_thread()


def test_an_exception_becomes_an_error_without_code_of_its_class() -> None:
    class Mine(BaseException):
        def __str__(self) -> str:
            raise AssertionError("the text was made")

    def decode() -> None:
        raise Mine("x")

    with pytest.raises(ValueNotReadableError, match=r"unpickled in the driver: Mine$") as failure:
        asyncio.run(DecodingThreads().run(decode, 5.0))
    assert failure.value.__context__ is None


def test_at_most_a_few_values_are_decoded_at_once() -> None:
    running, most = 0, 0
    lock = threading.Lock()
    is_full = threading.Event()

    def decode() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == MAX_THREADS:
                is_full.set()
        assert is_full.wait(10.0)
        with lock:
            running -= 1

    async def main() -> None:
        threads = DecodingThreads()
        await asyncio.gather(*(threads.run(decode, 30.0) for _ in range(4 * MAX_THREADS)))

    asyncio.run(main())
    assert most == MAX_THREADS


def test_threads_that_hang_do_not_keep_others_from_decoding() -> None:
    release = threading.Event()

    async def main() -> list[int]:
        threads = DecodingThreads()
        hanging = [threads.run(release.wait, 0.05) for _ in range(2 * MAX_THREADS)]
        failures = await asyncio.gather(*hanging, return_exceptions=True)
        assert {type(failure) for failure in failures} == {ValueNotReadableError}
        assert threads.abandoned == 2 * MAX_THREADS
        return await asyncio.gather(*(threads.run(lambda: 1, 5.0) for _ in range(10)))

    try:
        assert asyncio.run(main()) == [1] * 10
    finally:
        release.set()


def test_with_too_many_hanging_threads_nothing_more_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding_threads, "MAX_STUCK_THREADS", 3)
    release = threading.Event()
    threads = DecodingThreads()

    async def decode(function: Callable[[], object], limit_s: float) -> object:
        return await threads.run(function, limit_s)

    for _ in range(3):
        with pytest.raises(ValueNotReadableError):
            asyncio.run(decode(release.wait, 0.05))
    with pytest.raises(InfrastructureError, match="3 threads of this backend still unpickle"):
        asyncio.run(decode(lambda: 1, 5.0))
    release.set()
    wait_until(lambda: not threads._stuck)
    assert asyncio.run(decode(lambda: 1, 5.0)) == 1


def test_an_abandoned_loop_in_python_is_ended() -> None:
    def loop() -> None:
        while True:
            pass

    with pytest.raises(ValueNotReadableError, match="took longer than"):
        asyncio.run(DecodingThreads().run(loop, 0.05))
    # The fixture that looks for leaks would report the thread.


def test_a_waiting_value_can_be_cancelled() -> None:
    release = threading.Event()

    async def main() -> int:
        threads = DecodingThreads()
        running = [asyncio.create_task(threads.run(release.wait, 30.0)) for _ in range(MAX_THREADS)]
        await asyncio.sleep(0)
        waiting = [asyncio.create_task(threads.run(lambda: 1, 30.0)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        release.set()
        await asyncio.gather(*running)
        waiting[1].cancel()
        await asyncio.gather(*waiting[:2], return_exceptions=True)
        return await waiting[2] + await threads.run(lambda: 1, 30.0)

    assert asyncio.run(main()) == 2
