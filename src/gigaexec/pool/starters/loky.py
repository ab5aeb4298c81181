"""Starts reused workers with loky."""

from __future__ import annotations

import logging
import multiprocessing.process
import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.context import get_spawning_popen
from pathlib import Path
from typing import Any, cast

import loky
import psutil
from loky import process_executor

from gigaexec.config import WorkerConfig
from gigaexec.pool.supervision import process_tree
from gigaexec.pool.worker_process import WorkerPipes, WorkerProcess, WorkerStarter
from gigaexec.worker.reused.loop import serve, start
from gigaexec.worker.reused.start import WorkerSettings

logger = logging.getLogger(__name__)

_REAPER_LIMIT_S = 0.1
_FEEDER_LIMIT_S = 10.0

_children_of_multiprocessing: set[Any] = vars(multiprocessing.process)["_children"]


class LokyProcess(WorkerProcess):
    """A process of a single-worker loky executor, whose one task never ends."""

    def __init__(self, executor: Any, process: Any) -> None:
        self.pid: int = process.pid
        self._executor = executor
        self._call_queue = executor._call_queue
        self._process = process

    def open_pidfd(self) -> int | None:
        if sys.platform != "linux":
            return None
        try:
            return os.pidfd_open(self.pid)
        except OSError as error:  # Linux before 5.3, or a container that forbids the system call
            logger.debug("pidfd_open: %s; workers are polled for their end", error)
            return None

    def kill(self, pidfd: int | None) -> bool:
        return process_tree.kill_tree(self.pid, pidfd)

    def has_ended(self) -> bool:
        """True if it is dead; reaps it."""
        return self._process.exitcode is not None or not psutil.pid_exists(self.pid)

    def exit_code(self) -> int | None:
        """Return the exit code, or minus the signal's number; None if somebody else reaped the process."""
        try:
            ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            ended = None
        if ended is not None:
            self._process.join(0)  # reaps it
            return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        # Already reaped. If loky's own thread reaped it, that thread stores the code in the process object at
        # once. If the application ignores SIGCHLD or waits for any child, the code is lost.
        limit = time.monotonic() + _REAPER_LIMIT_S
        while self._process.exitcode is None and time.monotonic() < limit:
            time.sleep(0.001)
        return cast("int | None", self._process.exitcode)

    def forget_after_fork(self) -> None:
        """In a forked child: keep multiprocessing from joining the process, which is no child of this one."""
        _children_of_multiprocessing.discard(self._process)

    def dispose(self) -> None:
        """End the executor's thread and pipes."""
        # kill_workers: the thread must not wait for the task, nor for a pipe that an orphan may hold open.
        self._executor.shutdown(wait=True, kill_workers=True)
        # loky does not always join its queue's thread, a daemon that holds semaphores. At exit the
        # interpreter would stop that thread at any point, for example between removing a semaphore and
        # reporting it to loky's tracker.
        feeder = self._call_queue._thread
        if feeder is not None:
            feeder.join(_FEEDER_LIMIT_S)
        # Without a join, multiprocessing keeps the process object, a pipe and a semaphore.
        self._process.join()


class LokyStarter(WorkerStarter):
    """Starts the workers of a LokyBackend.

    Args:
        config: How workers run.
        on_started: Called after each start. If it raises, the worker is ended.
    """

    leaves_orphans = True

    def __init__(self, config: WorkerConfig, on_started: Callable[[], None]) -> None:
        self._config = config
        self._on_started = on_started

    def start_worker(self, worker_id: str) -> tuple[LokyProcess, WorkerPipes]:
        """Start a worker. It reports on its channel when it is ready.

        Raises:
            Exception: Whatever loky or the system raises; no process or descriptor is left then.
        """
        process, pipes = start_loky_worker(self._config, worker_id)
        try:
            self._on_started()
        except BaseException:
            pipes.close()
            process.dispose()
            raise
        return process, pipes


class _InheritedDescriptor:
    """A descriptor that a process started by loky inherits. Unpickles there as the descriptor's number."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        starting: Any = get_spawning_popen()
        return int, (starting.duplicate_for_child(self._descriptor),)


def start_loky_worker(config: WorkerConfig, worker_id: str) -> tuple[LokyProcess, WorkerPipes]:
    """Start a worker. It reports on its channel when it is ready.

    Raises:
        Exception: Whatever loky or the system raises; no process or descriptor is left then.
    """
    _require_current_folder()
    # `theirs` is closed here in any case: the worker has inherited it. `ours` is closed only after a failure.
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
            preload=config.preload,
            channel=_passed(channel.fileno()),
            lifeline=_passed(lifeline),
            stdout=_passed(stdout),
            stderr=_passed(stderr),
        )
        process = _start_process(config, settings)
        ours.pop_all()
        return process, WorkerPipes(our_channel, our_lifeline, our_stdout, our_stderr)


def _require_current_folder() -> None:
    # A new interpreter needs a current folder, and loky's own error names no folder.
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise FileNotFoundError(
            "the current folder of this process was removed; os.chdir() to one that exists"
        ) from error


def _pipe(reader_owner: ExitStack, writer_owner: ExitStack) -> tuple[int, int]:
    """Return the ends of a new pipe, each owned by an object that closes it."""
    reader, writer = os.pipe()
    reader_owner.callback(os.close, reader)
    writer_owner.callback(os.close, writer)
    return reader, writer


class _StartedProcesses(dict[int, Any]):
    """An executor's processes by pid. The executor drops a process that ends at once; `last` keeps it."""

    last: Any = None

    def __setitem__(self, pid: int, process: Any) -> None:
        self.last = process
        super().__setitem__(pid, process)


def _start_process(config: WorkerConfig, settings: WorkerSettings) -> LokyProcess:
    executor = loky.ProcessPoolExecutor(
        max_workers=1,
        initializer=start,
        initargs=(settings,),
        env=_initial_environment(config, settings.worker_id),
    )
    started = executor._processes = _StartedProcesses()
    try:
        executor.submit(serve)
        # When the interpreter exits, loky joins its threads, and this thread waits for a task that only the
        # shutdown of the backend ends. loky registers its exit hook with every executor, so the order of exit
        # hooks cannot be chosen.
        process_executor._threads_wakeups.pop(executor._executor_manager_thread, None)
        # loky intends to register its hook once but does not record it: without this, each worker leaves an
        # entry.
        process_executor.process_pool_executor_at_exit = True
        process = started.last
        assert process is not None
    except BaseException:
        executor.shutdown(wait=False, kill_workers=True)
        raise
    return LokyProcess(executor, process)


def _initial_environment(config: WorkerConfig, worker_id: str) -> dict[str, str]:
    """Return what to add to this process's environment, which loky passes on whole.

    "" hides a value from the start; the worker then removes the name. The worker's id is there from the start
    so that every process that the worker starts can be found by it.
    """
    allowed = config.worker_environment()
    hidden = {name: "" for name in os.environ if name not in allowed}
    return {**hidden, "GIGAEVO_WORKER_ID": worker_id}


def _passed(descriptor: int) -> int:
    return cast(int, _InheritedDescriptor(descriptor))
