"""Starts a worker process with loky."""

from __future__ import annotations

import os
import socket
import time
from contextlib import ExitStack
from multiprocessing.context import get_spawning_popen
from typing import Any, cast

import loky
from loky import process_executor

from gigaexec.config import WorkerConfig
from gigaexec.dispatch.worker_handle import WorkerPipes
from gigaexec.worker.bootstrap import WorkerSettings
from gigaexec.worker.main import serve, start

_REAP_LIMIT_S = 5.0


class LokyProcess:
    """A process of a single-worker loky executor, whose one task never ends."""

    def __init__(self, executor: Any, process: Any) -> None:
        self._executor = executor
        self._process = process
        self.pid: int = process.pid

    def exit_code(self) -> int:
        """Exit code of the ended process, or minus its signal's number."""
        # loky's own thread may be reaping it at this moment; one of the two gets the status, and both then
        # see it on the process object.
        limit = time.monotonic() + _REAP_LIMIT_S
        while (code := self._process.exitcode) is None and time.monotonic() < limit:
            time.sleep(0.0005)
        return cast(int, code) if code is not None else -9

    def dispose(self) -> None:
        """End the executor's thread and pipes."""
        # kill_workers: its thread must not wait for the task, nor for a pipe that an orphan may hold open.
        self._executor.shutdown(wait=True, kill_workers=True)
        # multiprocessing keeps every process it started, with a pipe and a semaphore, until it is joined.
        self._process.join()


class _InheritedDescriptor:
    """Unpickles, in a process that loky starts, as the number of the inherited descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        starting: Any = get_spawning_popen()
        return int, (starting.duplicate_for_child(self._descriptor),)


def start_loky_worker(config: WorkerConfig, worker_id: str) -> tuple[LokyProcess, WorkerPipes]:
    """Start a worker. It reports on its channel when it is ready.

    Raises:
        Exception: Whatever loky or the system raises; nothing is left then.
    """
    # What the worker inherits is closed here in any case; what stays with the driver, only after a failure.
    with ExitStack() as theirs, ExitStack() as ours:
        our_channel, channel = socket.socketpair()
        ours.callback(our_channel.close)
        theirs.callback(channel.close)
        lifeline, our_lifeline = _pipe(theirs, ours)
        our_stdout, stdout = _pipe(ours, theirs)
        our_stderr, stderr = _pipe(ours, theirs)
        settings = WorkerSettings(
            worker_id=worker_id,
            node_id=config.node_id,
            driver_pid=os.getpid(),
            environment=config.worker_environment(),
            enable_pdeathsig=config.enable_pdeathsig,
            max_rss_kb=config.max_worker_rss_mb * 1024 if config.max_worker_rss_mb is not None else None,
            channel=_passed(channel.fileno()),
            lifeline=_passed(lifeline),
            stdout=_passed(stdout),
            stderr=_passed(stderr),
        )
        process = _start_process(config, settings)
        ours.pop_all()
        return process, WorkerPipes(our_channel, our_lifeline, our_stdout, our_stderr)


def _pipe(reader_owner: ExitStack, writer_owner: ExitStack) -> tuple[int, int]:
    """Make a pipe whose ends are closed by their owners."""
    reader, writer = os.pipe()
    reader_owner.callback(os.close, reader)
    writer_owner.callback(os.close, writer)
    return reader, writer


def _start_process(config: WorkerConfig, settings: WorkerSettings) -> LokyProcess:
    executor = loky.ProcessPoolExecutor(
        max_workers=1,
        initializer=start,
        initargs=(settings,),
        env=_initial_environment(config, settings.worker_id),
    )
    try:
        executor.submit(serve)
        # As the interpreter exits, loky joins its threads; this one waits for a task that only our own
        # shutdown ends. loky registers its wait with every executor, so ours cannot be first by order.
        process_executor._threads_wakeups.pop(executor._executor_manager_thread, None)
        (process,) = executor._processes.values()
    except BaseException:
        executor.shutdown(wait=False, kill_workers=True)
        raise
    return LokyProcess(executor, process)


def _initial_environment(config: WorkerConfig, worker_id: str) -> dict[str, str]:
    """What to add to this process's environment, which loky passes on whole: "" hides a value from the start.

    The worker then removes the names. The id is there from the start so that what the worker starts can
    always be found by it.
    """
    allowed = config.worker_environment()
    hidden = {name: "" for name in os.environ if name not in allowed}
    return {**hidden, "GIGAEVO_WORKER_ID": worker_id}


def _passed(descriptor: int) -> int:
    return cast(int, _InheritedDescriptor(descriptor))
