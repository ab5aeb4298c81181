"""Run calls on any backend."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from dataclasses import replace
from typing import Any, TypeGuard

from gigaexec.backends.contract import ExecutorBackend, OutcomeBackend
from gigaexec.calls import Outcome, OutcomeStatus, WorkerCall
from gigaexec.checks import require_count, require_seconds
from gigaexec.config import allowed_cpu_count
from gigaexec.default_backend import (
    default_loky_backend as default_loky_backend,
    resolve_backend,
    shutdown_executor as shutdown_executor,
)
from gigaexec.errors import (
    CallError,
    CallTimeoutError,
    ConfigurationError,
    GigaexecError,
    InfrastructureError,
    InvalidCallError,
)
from gigaexec.limits import Limits

# With more than one call in flight per worker, no worker waits for the event loop. If outcomes are yielded in
# order, more are needed: a slow call keeps all calls after it in flight, even those that have ended.
_IN_FLIGHT_PER_WORKER = 2
_IN_FLIGHT_PER_WORKER_ORDERED = 16


async def run_exec_runner(
    *,
    code: str,
    function_name: str,
    args: list[Any] | None = None,
    kwargs: dict[str, Any] | None = None,
    python_path: list[str] | None = None,
    env_updates: dict[str, str | None] | None = None,
    timeout: float,
    limits: Limits | None = None,
    backend: ExecutorBackend | str | None = None,
) -> Any:
    """Run a function of a program and return its value.

    Args:
        code: Python source.
        function_name: The function to call.
        args: Positional arguments of the function.
        kwargs: Keyword arguments of the function.
        python_path: Folders to put at the front of `sys.path`, in this order.
        env_updates: Environment variables for the call: name -> value; None unsets the variable.
        timeout: Maximum run time of the call, seconds.
        limits: Limits of the call, for a backend that enforces limits. In these limits, None keeps the
            backend's limit.
        backend: A backend, or the name or URL of one; such a backend is created on first use with
            `WorkerConfig.from_env()` and shared in this process. None is the default backend.

    Raises:
        ExecRunnerError: The program failed, or its process crashed.
        CallTimeoutError: The call ran longer than `timeout` and was killed. The error is also a
            `TimeoutError`.
        CallCancelledError: The backend was shut down during the call.
        ConfigurationError: An argument cannot be used; nothing was started.
        InfrastructureError: gigaexec or the machine failed.
    """
    call = WorkerCall(
        code=code,
        function_name=function_name,
        args=args if args is not None else [],
        kwargs=kwargs if kwargs is not None else {},
        python_path=python_path if python_path is not None else [],
        env=env_updates if env_updates is not None else {},
    )
    chosen = resolve_backend(backend)
    # `limits` is passed only if it is set: `execute` of a third-party backend may lack that parameter.
    optional: dict[str, Any] = {} if limits is None else {"limits": limits}
    return await chosen.execute(call, deadline_s=timeout, **optional)


async def run_call(
    call: WorkerCall,
    *,
    deadline_s: float,
    queue_timeout_s: float | None = None,
    limits: Limits | None = None,
    backend: ExecutorBackend | str | None = None,
) -> Outcome:
    """Run a call on any backend and return its outcome.

    If the backend raises an exception that is not an error of gigaexec, such as a ConnectionError, the
    outcome has the status infrastructure.

    Args:
        call: The call.
        deadline_s: Maximum run time of the call, seconds.
        queue_timeout_s: Longest wait for a worker, seconds; None is no limit.
        limits: Limits of the call. In these limits, None keeps the backend's limit.
        backend: A backend, or the name or URL of one; such a backend is created on first use with
            `WorkerConfig.from_env()` and shared in this process. None is the default backend.

    Raises:
        ConfigurationError: The call or a limit cannot be used; or `queue_timeout_s` or `limits` is set, and
            the backend does not accept that parameter. Nothing was started.
    """
    chosen = resolve_backend(backend)
    if _reports_outcomes(chosen):
        try:
            # `limits` is passed only if it is set: `run` of a third-party backend may lack that parameter.
            optional: dict[str, Any] = {} if limits is None else {"limits": limits}
            return await chosen.run(call, deadline_s=deadline_s, queue_timeout_s=queue_timeout_s, **optional)
        except ConfigurationError:
            raise
        except Exception as error:  # noqa: BLE001 - a third-party backend may raise anything
            failure = _failure_of_backend(chosen, error)
            return Outcome(failure.status, error=failure)
    for name, value in (("queue_timeout_s", queue_timeout_s), ("limits", limits)):
        if value is not None:
            raise ConfigurationError(
                f"{type(chosen).__name__} has no run() and does not take {name}; leave out {name}"
            )
    return await _run_by_execute(chosen, call, deadline_s)


async def map_calls(
    calls: Iterable[WorkerCall] | AsyncIterable[WorkerCall],
    *,
    deadline_s: float,
    ordered: bool = True,
    max_in_flight: int | None = None,
    queue_timeout_s: float | None = None,
    limits: Limits | None = None,
    backend: ExecutorBackend | str | None = None,
) -> AsyncGenerator[Outcome, None]:
    """Run many calls, a bounded number at a time, and yield their outcomes.

    `calls` is consumed as workers become free, so a generator may yield millions of calls. If you leave the
    loop early, the calls in flight are killed when the returned generator is closed. To close the generator
    at once, use `contextlib.aclosing`.

    Args:
        calls: The calls, as an iterable or an asynchronous iterable.
        deadline_s: Maximum run time of each call, seconds.
        ordered: True to yield outcomes in the order of the calls, False to yield each outcome as soon as its
            call ends. `Outcome.index` is the position of the call in both cases.
        max_in_flight: Maximum number of calls that are submitted and whose outcome is not yet yielded.
            Default: 16 per worker if `ordered`, else 2 per worker.
        queue_timeout_s: Longest wait of each call for a worker, seconds; None is no limit.
        limits: Limits of each call. In these limits, None keeps the backend's limit.
        backend: A backend, or the name or URL of one; such a backend is created on first use with
            `WorkerConfig.from_env()` and shared in this process. None is the default backend.

    Yields:
        One outcome per call.

    Raises:
        ConfigurationError: An argument cannot be used, or an item is not a `WorkerCall`. A call whose
            arguments cannot be pickled does not raise: its outcome has status error.
    """
    require_seconds("deadline_s", deadline_s)
    chosen = resolve_backend(backend)
    if max_in_flight is None:
        workers = getattr(chosen, "max_concurrency", allowed_cpu_count())
        max_in_flight = workers * (_IN_FLIGHT_PER_WORKER_ORDERED if ordered else _IN_FLIGHT_PER_WORKER)
    require_count("max_in_flight", max_in_flight)

    async def run_one(index: int, call: WorkerCall) -> Outcome:
        try:
            outcome = await run_call(
                call,
                deadline_s=deadline_s,
                queue_timeout_s=queue_timeout_s,
                limits=limits,
                backend=chosen,
            )
        except InvalidCallError as error:
            outcome = Outcome(error.status, error=error)
        return replace(outcome, index=index)

    in_flight: deque[asyncio.Task[Outcome]] = deque()
    try:
        index = 0
        async for call in _as_async(calls):
            if not isinstance(call, WorkerCall):
                raise ConfigurationError(f"calls[{index}] must be a WorkerCall, not {type(call).__name__}")
            in_flight.append(asyncio.create_task(run_one(index, call)))
            index += 1
            if len(in_flight) >= max_in_flight:
                yield await _next_ended(in_flight, ordered)
        while in_flight:
            yield await _next_ended(in_flight, ordered)
    finally:
        for task in in_flight:
            task.cancel()
        await asyncio.gather(*in_flight, return_exceptions=True)


def _reports_outcomes(backend: ExecutorBackend) -> TypeGuard[OutcomeBackend]:
    # OutcomeBackend is a protocol, so isinstance() would take 15 us for each call.
    return callable(getattr(backend, "run", None))


async def _as_async(calls: Iterable[WorkerCall] | AsyncIterable[WorkerCall]) -> AsyncIterator[WorkerCall]:
    if isinstance(calls, AsyncIterable):
        async for call in calls:
            yield call
    else:
        for call in calls:
            yield call


async def _next_ended(in_flight: deque[asyncio.Task[Outcome]], ordered: bool) -> Outcome:
    if ordered:
        await asyncio.wait([in_flight[0]])
        return in_flight.popleft().result()
    done, _ = await asyncio.wait(in_flight, return_when=asyncio.FIRST_COMPLETED)
    task = next(task for task in in_flight if task in done)
    in_flight.remove(task)
    return task.result()


def _failure_of_backend(backend: ExecutorBackend, error: Exception) -> InfrastructureError:
    if isinstance(error, InfrastructureError):
        return error
    failure = InfrastructureError(f"{type(backend).__name__} failed: {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure


async def _run_by_execute(backend: ExecutorBackend, call: WorkerCall, deadline_s: float) -> Outcome:
    clock = asyncio.get_running_loop().time
    started_at = clock()
    failure: GigaexecError
    try:
        value = await backend.execute(call, deadline_s=deadline_s)
    except ConfigurationError:
        raise
    except GigaexecError as error:
        failure = error
    except TimeoutError as error:
        failure = CallTimeoutError(str(error) or f"timed out after {deadline_s:g} s", deadline_s=deadline_s)
    except Exception as error:  # noqa: BLE001 - a third-party backend may raise anything
        failure = _failure_of_backend(backend, error)
    else:
        return Outcome(OutcomeStatus.OK, value=value, run_time_s=clock() - started_at)
    metrics = failure.metrics if isinstance(failure, CallError) else None
    return Outcome(failure.status, error=failure, metrics=metrics, run_time_s=clock() - started_at)
