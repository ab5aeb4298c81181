"""Run calls without an event loop: in scripts, notebooks and threads."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any, Self, TypeVar

from gigaexec.backends.contract import ExecutorBackend
from gigaexec.calls import Outcome, WorkerCall
from gigaexec.limits import Limits
from gigaexec.runner import map_calls, run_exec_runner

_T = TypeVar("_T")

DEFAULT_DEADLINE_S = 60.0
"""Default for `run` and `map`. One minute is long for a function call, and a hanging program must not block
an interactive prompt forever."""


def run(
    code: str,
    function_name: str,
    *args: Any,
    kwargs: Mapping[str, Any] | None = None,
    deadline_s: float = DEFAULT_DEADLINE_S,
    python_path: Sequence[str] = (),
    env: Mapping[str, str | None] | None = None,
    limits: Limits | None = None,
    backend: ExecutorBackend | str | None = None,
) -> Any:
    """Run a function of a program and return its value.

    This function blocks the calling thread. If an event loop runs in this thread, the loop is blocked too.

    Args:
        code: Python source.
        function_name: The function to call.
        *args: Positional arguments of the function.
        kwargs: Keyword arguments of the function.
        deadline_s: Maximum run time of the call, seconds.
        python_path: Folders to put at the front of `sys.path`, in this order.
        env: Environment variables for the call: name -> value; None unsets the variable.
        limits: Limits of the call, for a backend that enforces limits. In these limits, None keeps the
            backend's limit.
        backend: A backend, or the name or URL of one; such a backend is created on first use with
            `WorkerConfig.from_env()` and shared in this process. None is the default backend.

    Raises:
        ExecRunnerError: The program failed, or its process crashed.
        CallTimeoutError: The call ran longer than its deadline and was killed. The error is also a
            `TimeoutError`.
        CallCancelledError: The backend was shut down during the call.
        ConfigurationError: An argument cannot be used; nothing was started.
        InfrastructureError: gigaexec or the machine failed.
    """
    with _LoopRunner() as runner:
        return runner.run(
            run_exec_runner(
                code=code,
                function_name=function_name,
                args=list(args),
                kwargs=dict(kwargs or {}),
                python_path=list(python_path),
                env_updates=dict(env or {}),
                timeout=deadline_s,
                limits=limits,
                backend=backend,
            )
        )


def map(  # noqa: A001 - the public name is `gigaexec.map`
    calls: Iterable[WorkerCall],
    *,
    deadline_s: float = DEFAULT_DEADLINE_S,
    ordered: bool = True,
    max_in_flight: int | None = None,
    queue_timeout_s: float | None = None,
    limits: Limits | None = None,
    backend: ExecutorBackend | str | None = None,
) -> Iterator[Outcome]:
    """Run many calls and yield their outcomes, like `map_calls`, but in code without an event loop.

    The iterator blocks the thread until the next outcome is there. If you leave the loop early, the calls in
    flight are killed when the iterator is closed.

    Args:
        calls: The calls.
        deadline_s: Maximum run time of each call, seconds.
        ordered: True to yield outcomes in the order of the calls, False to yield each outcome as soon as its
            call ends.
        max_in_flight: Maximum number of calls that are submitted and whose outcome is not yet yielded.
            Default: 16 per worker if `ordered`, else 2 per worker.
        queue_timeout_s: Longest wait of each call for a worker, seconds; None is no limit.
        limits: Limits of each call. In these limits, None keeps the backend's limit.
        backend: A backend, or the name or URL of one; such a backend is created on first use with
            `WorkerConfig.from_env()` and shared in this process. None is the default backend.

    Yields:
        One outcome per call.

    Raises:
        ConfigurationError: An argument cannot be used, or an item is not a `WorkerCall`.
    """
    outcomes = map_calls(
        calls,
        deadline_s=deadline_s,
        ordered=ordered,
        max_in_flight=max_in_flight,
        queue_timeout_s=queue_timeout_s,
        limits=limits,
        backend=backend,
    )

    async def next_outcome() -> Outcome | None:
        return await anext(outcomes, None)

    async def close() -> None:
        await outcomes.aclose()

    with _LoopRunner() as runner:
        try:
            while (outcome := runner.run(next_outcome())) is not None:
                yield outcome
        finally:
            runner.run(close())


class _LoopRunner:
    """Run coroutines on a new event loop. The loop gets a new thread if this thread already runs a loop."""

    def __enter__(self) -> Self:
        self._runner = asyncio.Runner()
        self._thread = ThreadPoolExecutor(1, "gigaexec-sync") if _has_running_loop() else None
        if self._thread is not None:
            self._loop = self._thread.submit(self._runner.get_loop).result()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._thread is None:
            self._runner.close()
        else:
            self._thread.submit(self._runner.close).result()
            self._thread.shutdown()

    def run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine and return its result.

        The result is never the result of a task: on CPython 3.11 and 3.12, `asyncio.Runner.run` makes the
        repr of its finished task. The repr of a program's value can run code, and takes much memory.
        """
        results: list[_T] = []

        async def keep_result() -> None:
            results.append(await coroutine)

        try:
            self._run(keep_result())
        finally:
            coroutine.close()  # in case an interrupt came before the first step of the coroutine
        return results.pop()

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        if self._thread is None:
            try:
                self._runner.run(coroutine)
            except KeyboardInterrupt as interrupt:
                # Without the traceback of the cancelled task, which would be printed first.
                raise interrupt from None
            return
        running = self._thread.submit(self._runner.run, coroutine)
        try:
            running.result()
        except KeyboardInterrupt:
            # Ctrl-C interrupts only this thread. Without a cancellation, the calls on the other thread would
            # run until their deadlines.
            self._loop.call_soon_threadsafe(self._cancel_all)
            wait([running])
            raise

    def _cancel_all(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()


def _has_running_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
