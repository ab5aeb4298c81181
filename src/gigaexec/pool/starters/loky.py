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
    """The process of a loky executor with one worker. The executor's only task runs until the worker ends."""

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
        except OSError as error:  # pidfd_open needs Linux 5.3; a container may forbid it
            logger.debug("pidfd_open failed (%s); the end of the worker is polled for", error)
            return None

    def kill(self, pidfd: int | None) -> bool:
        return process_tree.kill_tree(self.pid, pidfd)

    def has_ended(self) -> bool:
        """True if the process is dead. Reaps the dead process."""
        return self._process.exitcode is not None or not psutil.pid_exists(self.pid)

    def exit_code(self) -> int | None:
        """Return the exit code, or minus the signal's number; None if the application reaped the process."""
        try:
            ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            ended = None
        if ended is not None:
            self._process.join(0)  # reaps the process
            return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        # The process was already reaped. If a thread of loky reaped the process, that thread stores the exit
        # code in the process object at once. If the application ignores SIGCHLD or waits for any child, the
        # exit code is lost.
        limit = time.monotonic() + _REAPER_LIMIT_S
        while self._process.exitcode is None and time.monotonic() < limit:
            time.sleep(0.001)
        return cast("int | None", self._process.exitcode)

    def forget_after_fork(self) -> None:
        """Remove the process from multiprocessing's list, so that a forked child does not try to join it."""
        _children_of_multiprocessing.discard(self._process)

    def dispose(self) -> None:
        """End the executor's threads, and close the executor's pipes."""
        # kill_workers=True: the executor's thread must not wait for the task, nor for a pipe that an orphan
        # may keep open.
        self._executor.shutdown(wait=True, kill_workers=True)
        # loky does not always join the feeder thread of its call queue, a daemon thread that uses semaphores.
        # At exit, the interpreter stops a daemon thread at any point, for example between removing a
        # semaphore and reporting the removal to loky's resource tracker.
        feeder = self._call_queue._thread
        if feeder is not None:
            feeder.join(_FEEDER_LIMIT_S)
        # Without join(), multiprocessing keeps the process object, a pipe and a semaphore: a leak.
        self._process.join()


class LokyStarter(WorkerStarter):
    """Starts the workers of a LokyBackend.

    Args:
        config: Configuration of the workers.
        on_started: Called after each start of a worker. If `on_started` raises, the worker is ended.
    """

    leaves_orphans = True

    def __init__(self, config: WorkerConfig, on_started: Callable[[], None]) -> None:
        self._config = config
        self._on_started = on_started

    def start_worker(self, worker_id: str) -> tuple[LokyProcess, WorkerPipes]:
        """Start a worker. The worker reports on its channel when it is ready.

        Raises:
            Exception: Any error that loky or the system raises. No process or descriptor is left behind.
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
    """A descriptor for a process that loky starts. In that process, it unpickles as a descriptor number."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        starting: Any = get_spawning_popen()
        return int, (starting.duplicate_for_child(self._descriptor),)


def start_loky_worker(config: WorkerConfig, worker_id: str) -> tuple[LokyProcess, WorkerPipes]:
    """Start a worker. The worker reports on its channel when it is ready.

    Raises:
        Exception: Any error that loky or the system raises. No process or descriptor is left behind.
    """
    _require_current_folder()
    # The worker inherits the descriptors in `theirs`, so this process always closes them. The descriptors in
    # `ours` are closed only if the start fails.
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
    # A new interpreter fails if the current folder does not exist, and loky's error does not mention the
    # folder.
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise FileNotFoundError(
            "the current folder of this process was removed; os.chdir() to one that exists"
        ) from error


def _pipe(reader_owner: ExitStack, writer_owner: ExitStack) -> tuple[int, int]:
    """Open a pipe, and register each end with the stack that closes it. Returns read end and write end."""
    reader, writer = os.pipe()
    reader_owner.callback(os.close, reader)
    writer_owner.callback(os.close, writer)
    return reader, writer


class _StartedProcesses(dict[int, Any]):
    """The dict in which a loky executor stores its processes by pid.

    loky may remove a process right after the start, if the process ended at once. `last` still refers to this
    process.
    """

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
        # When the interpreter exits, loky's exit hook joins the threads of all executors. The thread of this
        # executor waits for a task that only the shutdown of the backend ends: a deadlock. So the thread is
        # removed from loky's list. Running our shutdown before loky's hook is impossible, because loky
        # registers the hook with every executor.
        process_executor._threads_wakeups.pop(executor._executor_manager_thread, None)
        # loky should register its exit hook only once, but never sets this flag. If the flag were not set
        # here, every worker would register the hook again.
        process_executor.process_pool_executor_at_exit = True
        process = started.last
        assert process is not None
    except BaseException:
        executor.shutdown(wait=False, kill_workers=True)
        raise
    return LokyProcess(executor, process)


def _initial_environment(config: WorkerConfig, worker_id: str) -> dict[str, str]:
    """Return the environment variables to set for a loky worker.

    loky also passes on the environment of this process. A variable that the worker must not see is therefore
    set to "", and the worker removes it later. The worker id is set before the process starts: every process
    that the worker starts inherits the id, and can be found by this id.
    """
    allowed = config.worker_environment()
    hidden = {name: "" for name in os.environ if name not in allowed}
    return {**hidden, "GIGAEVO_WORKER_ID": worker_id}


def _passed(descriptor: int) -> int:
    return cast(int, _InheritedDescriptor(descriptor))
