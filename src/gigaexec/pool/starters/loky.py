"""Starts reused workers with loky's `fork_exec`.

    dispatcher --fork_exec--> new interpreter --> worker.reused.loop.main
       |-- settings ---- channel ---> |
       |-- lifeline ----------------> |
       |<- stdout, stderr ----------- |

Only `fork_exec` of loky is used. A loky executor would have locks and threads in the driver, semaphores and
two resource tracker processes for each worker: a child that is forked while another thread holds such a lock
can hang, daemonic processes cannot start executors, and a tracker warns of semaphores when the driver is
interrupted.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from loky.backend.fork_exec import fork_exec

from gigaexec.config import WorkerConfig
from gigaexec.pool.starters.interpreter import interpreter_command
from gigaexec.pool.supervision import process_tree
from gigaexec.pool.worker_process import WorkerPipes, WorkerProcess, WorkerStarter
from gigaexec.wire.messages import frame_prefix
from gigaexec.worker.reused.start import WorkerSettings

logger = logging.getLogger(__name__)

# The new session and the redirections come first: Ctrl-C in the terminal must reach the driver only, and a
# failing import must not print on the driver's terminal.
_MAIN = (
    "import os; os.setsid(); os.dup2(int(sys.argv[2]), 1); os.dup2(int(sys.argv[3]), 2); "
    "from gigaexec.worker.reused.loop import main; main(int(sys.argv[1]))"
)


class LokyProcess(WorkerProcess):
    """A process that loky's `fork_exec` started. Used on one thread at a time."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._exit_code: int | None = None
        self._is_reaped = False

    def open_pidfd(self) -> int | None:
        if sys.platform != "linux":
            return None
        try:
            return os.pidfd_open(self.pid)
        except OSError as error:  # pidfd_open needs Linux 5.3; a container may forbid it
            logger.debug("pidfd_open failed (%s); the end of the worker is polled for", error)
            return None

    def kill(self, pidfd: int | None) -> process_tree.Killing:
        return process_tree.kill_tree(self.pid, pidfd)

    def has_ended(self) -> bool:
        """True if the process is dead. Reaps the dead process."""
        self._reap(os.WNOHANG)
        return self._is_reaped

    def exit_code(self) -> int | None:
        """Return the exit code, or minus the signal's number; None if the application reaped the process."""
        self._reap(os.WNOHANG)
        return self._exit_code

    def forget_after_fork(self) -> None:
        """Do nothing: a forked child holds nothing of the process but its pid."""

    def dispose(self) -> None:
        """Reap the process. Blocks until the process is dead."""
        self._reap(0)

    def _reap(self, options: int) -> None:
        if self._is_reaped:
            return
        try:
            pid, status = os.waitpid(self.pid, options)
        except ChildProcessError:  # the application ignores SIGCHLD, or waits for any child
            self._is_reaped = True
            return
        if pid:
            self._is_reaped = True
            self._exit_code = os.waitstatus_to_exitcode(status)


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
            OSError: A process or descriptor cannot be created. No process or descriptor is left behind.
            RuntimeError: The interpreter has begun to exit.
        """
        _require_current_folder()
        # The worker inherits the descriptors in `theirs`, so this process always closes them. The descriptors
        # in `ours` are closed only if the start fails.
        with ExitStack() as theirs, ExitStack() as ours:
            our_channel, channel = socket.socketpair()
            ours.callback(our_channel.close)
            theirs.callback(channel.close)
            lifeline, our_lifeline = _pipe(theirs, ours)
            our_stdout, stdout = _pipe(ours, theirs)
            our_stderr, stderr = _pipe(ours, theirs)
            pid = _start_interpreter(
                interpreter_command(_MAIN, channel.fileno(), stdout, stderr),
                [channel.fileno(), lifeline, stdout, stderr],
                self._initial_environment(worker_id),
            )
            process = LokyProcess(pid)
            ours.callback(process.dispose)
            ours.callback(os.kill, pid, signal.SIGKILL)
            settings = WorkerSettings(
                worker_id=worker_id,
                node_id=self._config.node_id,
                driver_pid=os.getpid(),
                environment=self._config.worker_environment(),
                enable_pdeathsig=self._config.enable_pdeathsig,
                max_rss_kb=mb * 1024 if (mb := self._config.max_worker_rss_mb) is not None else None,
                preload=self._config.preload,
                lifeline=lifeline,
                stdout=stdout,
                stderr=stderr,
            )
            # A large environment may not fit into the socket. Then the worker must read before this returns.
            our_channel.settimeout(self._config.start_timeout_s)
            _send(our_channel, pickle.dumps(settings, protocol=5))
            self._on_started()
            ours.pop_all()
            return process, WorkerPipes(our_channel, our_lifeline, our_stdout, our_stderr)

    def _initial_environment(self, worker_id: str) -> dict[str, str]:
        """Return the environment variables to set for a new interpreter.

        loky also passes on the environment of this process. A variable that the worker must not see is
        therefore set to "", and the worker removes it later. The worker id is set before the process starts:
        every process that the worker starts inherits the id, and can be found by this id.
        """
        allowed = self._config.worker_environment()
        hidden = {name: "" for name in os.environ if name not in allowed}
        return {**hidden, "GIGAEVO_WORKER_ID": worker_id}


def _start_interpreter(command: list[str], descriptors: list[int], environment: dict[str, str]) -> int:
    """Start a new interpreter with the given descriptors only, and return its pid.

    The interpreter starts with SIGINT blocked: Ctrl-C in the terminal must not interrupt its imports. The
    worker ignores SIGINT before it unblocks the signal.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        pid: int = fork_exec(command, descriptors, env=environment)
        return pid
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _send(channel: socket.socket, settings: bytes) -> None:
    try:
        channel.sendall(frame_prefix(len(settings)) + settings)
    except (BrokenPipeError, ConnectionResetError):
        pass  # the interpreter has ended already; its exit code and its output will be reported


def _require_current_folder() -> None:
    # A new interpreter fails if the current folder does not exist, and its error does not mention the folder.
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
