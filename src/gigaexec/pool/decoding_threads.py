"""Decode pickles on threads of their own, each within a limit of time.

    event loop                      thread
      run() ----------------------> decode()        code of the value's classes runs here
      waits at most `limit_s` <---- result
      abandons the thread if it takes longer

Unpickling runs code of the program in the driver. Its own worker has already rebuilt the value once, so this
code normally ends soon here, too. If it does not, only the call of that value fails. A thread cannot be
killed: an abandoned thread gets an exception, which ends a loop in Python but not one in C. Abandoned threads
are daemons, which do not delay the exit of the interpreter.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from gigaexec.errors import InfrastructureError, ValueNotReadableError
from gigaexec.untrusted.plain_values import exception_text

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

# Decoding holds the GIL nearly all the time, so more threads would not be faster.
MAX_THREADS = 4
"""Maximum number of pickles that are decoded at the same time."""

MAX_STUCK_THREADS = 16
"""Maximum number of abandoned threads that still run. With more, no pickle is decoded any more."""

MIN_LIMIT_S = 2.0
"""Least time that decoding a pickle may take. The deadline may have passed nearly completely when the worker
answers, and a large value takes about as long in the driver as it took in the worker."""


class _AbandonedError(BaseException):
    """Raised in an abandoned thread."""


class DecodingThreads:
    """The threads that decode the pickles of one backend. May be used from several event loops.

    Attributes:
        abandoned: Number of threads that were abandoned so far because decoding took too long.
    """

    def __init__(self) -> None:
        self.abandoned = 0
        self._lock = threading.Lock()
        self._running = 0
        self._stuck: set[_Decoding[Any]] = set()
        self._waiting: deque[_Turn] = deque()

    async def run(self, decode: Callable[[], _T], limit_s: float) -> _T:
        """Call `decode` on a thread of its own, and return the result.

        If the awaiting task is cancelled, the thread is abandoned, too, but not counted.

        Args:
            decode: Function that decodes a pickle. It may raise anything, and may never return.
            limit_s: Maximum time from the start of the thread to the result, seconds.

        Raises:
            ValueNotReadableError: `decode` raised an exception, or took longer than `limit_s`.
            InfrastructureError: No thread can be started, or too many abandoned threads still run.
        """
        await self._take_turn()
        decoding = _Decoding(self, decode, asyncio.get_running_loop())
        try:
            decoding.start()
        except RuntimeError as error:
            self._end_turn()
            raise InfrastructureError(
                f"no thread can be started to decode the return value: {error}"
            ) from error
        try:
            await asyncio.wait([decoding.ended], timeout=limit_s)
        finally:
            was_abandoned = self._abandon_if_running(decoding)
        if was_abandoned:
            raise ValueNotReadableError(self._count_abandoned(limit_s))
        if decoding.failure:
            raise ValueNotReadableError(
                f"the return value cannot be unpickled in the driver: {decoding.failure}"
            )
        return decoding.results.pop()

    async def _take_turn(self) -> None:
        """Wait until fewer than `MAX_THREADS` pickles are being decoded."""
        with self._lock:
            if len(self._stuck) >= MAX_STUCK_THREADS:
                raise InfrastructureError(
                    f"{len(self._stuck)} threads of this backend still unpickle values that took too long; "
                    "no further value is unpickled. Restart this process, or use a sandbox: values of "
                    "confined programs run no code here"
                )
            if self._running < MAX_THREADS:
                self._running += 1
                return
            turn = _Turn(asyncio.get_running_loop())
            self._waiting.append(turn)
        try:
            await turn.came
        except BaseException:  # cancelled, or the event loop was closed
            with self._lock:
                was_waiting = turn in self._waiting
                if was_waiting:
                    self._waiting.remove(turn)
            if not was_waiting:
                self._end_turn()
            raise

    def _end_turn(self) -> None:
        """Let the next pickle be decoded."""
        with self._lock:
            while self._waiting:
                if self._waiting.popleft().give():
                    return
            self._running -= 1

    def _abandon_if_running(self, decoding: _Decoding[Any]) -> bool:
        with self._lock:
            if decoding.has_ended:
                return False
            decoding.is_abandoned = True
            self._stuck.add(decoding)
            decoding.interrupt()
        self._end_turn()
        return True

    def _count_abandoned(self, limit_s: float) -> str:
        with self._lock:
            self.abandoned += 1
            count = self.abandoned
        message = (
            f"unpickling the return value in the driver took longer than {limit_s:.3g} s, and was abandoned"
        )
        logger.warning("%s; values abandoned so far by this backend: %d", message, count)
        return message

    def _thread_ended(self, decoding: _Decoding[Any]) -> None:
        with self._lock:
            decoding.has_ended = True
            self._stuck.discard(decoding)
        if not decoding.is_abandoned:
            self._end_turn()
            decoding.report()


class _Turn:
    """A call that waits for its turn to decode a pickle."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.came: asyncio.Future[None] = loop.create_future()

    def give(self) -> bool:
        """Wake the waiting call. Return False if its event loop was closed."""
        try:
            self._loop.call_soon_threadsafe(_set, self.came)
        except RuntimeError:
            return False
        return True


class _Decoding(Generic[_T]):
    """One call of `decode` on its own thread."""

    def __init__(
        self, owner: DecodingThreads, decode: Callable[[], _T], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._owner = owner
        self._decode = decode
        self._loop = loop
        self._thread = threading.Thread(target=self._run, name="gigaexec-decode", daemon=True)
        self.ended: asyncio.Future[None] = loop.create_future()
        self.results: list[_T] = []
        self.failure = ""
        self.has_ended = False
        self.is_abandoned = False

    def start(self) -> None:
        """Start the thread. Raises RuntimeError if the system refuses a thread."""
        self._thread.start()

    def interrupt(self) -> None:
        """Raise an exception in the thread, at its next step in Python. Call only while the thread runs."""
        number = ctypes.c_ulong(self._thread.ident or 0)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(number, ctypes.py_object(_AbandonedError))

    def report(self) -> None:
        """Tell the event loop that the thread has ended."""
        try:
            self._loop.call_soon_threadsafe(_set, self.ended)
        except RuntimeError:
            pass  # the event loop was closed: nobody waits for the value

    def _run(self) -> None:
        try:
            try:
                self.results.append(self._decode())
            except BaseException as error:  # noqa: BLE001 - code of the value's classes may raise anything
                self.failure = exception_text(error)
            self._owner._thread_ended(self)
        except _AbandonedError:
            # The exception of interrupt() arrived after the decoding, perhaps inside of _thread_ended().
            self._owner._thread_ended(self)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
