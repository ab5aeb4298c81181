"""Turns a fresh Python process into a worker, once.

The order matters. Death with the driver comes first, so that no later failure leaves an orphan; then the
environment, before any library can read a secret from it.
"""

from __future__ import annotations

import ctypes
import faulthandler
import fcntl
import multiprocessing
import os
import signal
import socket
import sys
import threading
from dataclasses import dataclass
from typing import Any

from gigaexec.worker.call.capture import StandardStreams
from gigaexec.worker.call.report import describe_exception

# Numbers of prctl(2), from linux/prctl.h.
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
# fcntl(2), asm-generic/fcntl.h: which signal O_ASYNC sends. In Python's fcntl module since 3.12 only.
_F_SETSIG = 10

_HIGHEST_DESCRIPTOR = 1 << 20  # the default of fs.nr_open


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """The settings of one worker process.

    Args:
        worker_id: 12 hex digits, new for this process.
        node_id: Name of the driver's machine.
        driver_pid: Process id of the driver.
        environment: All variables that the process may have.
        enable_pdeathsig: Use PR_SET_PDEATHSIG.
        max_rss_kb: Retire after a call that leaves more resident memory than this, KiB; None for never.
        preload: Modules to import before the first call.
        channel: Descriptor of the socket to the driver.
        lifeline: Descriptor of a pipe whose other end only the driver holds.
        stdout: Descriptor of the pipe for the calls' standard output.
        stderr: Descriptor of the pipe for the calls' standard error.
    """

    worker_id: str
    node_id: str
    driver_pid: int
    environment: dict[str, str]
    enable_pdeathsig: bool
    max_rss_kb: int | None
    preload: tuple[str, ...]
    channel: int
    lifeline: int
    stdout: int
    stderr: int


def become_worker(settings: WorkerSettings) -> tuple[socket.socket, StandardStreams, list[str]]:
    """Prepare this process. Call it once, on the main thread, before any other thread runs.

    Returns:
        The connected channel, the standard streams, and warnings for the driver's log.
    """
    warnings = die_with_driver(settings.lifeline, settings.driver_pid, settings.enable_pdeathsig)
    warnings += replace_environment(_worker_environment(settings))
    os.setsid()  # the terminal's Ctrl-C is for the driver, which then decides
    streams = StandardStreams(settings.stdout, settings.stderr)
    warnings += adopt_orphans()
    volunteer_for_oom_killer()
    prepare_interpreter()
    os.set_inheritable(settings.channel, False)
    return socket.socket(fileno=settings.channel), streams, warnings


def prepare_interpreter() -> None:
    """Give the interpreter the state that programs expect of a fresh one; write no bytecode files.

    Forked processes inherit all of it.
    """
    _reset_signals()
    faulthandler.enable(file=2, all_threads=True)
    # loky leaves its own start method here, which fails in programs.
    multiprocessing.set_start_method(None, force=True)
    if sys.platform == "linux":
        # The default of Python 3.14, forkserver, starts interpreters that cannot import a program without a
        # file.
        default: Any = multiprocessing.context._default_context
        default._default_context = multiprocessing.get_context("fork")
    # No __pycache__ in the user's folders: a helper module that is rewritten within a second at the same size
    # would be loaded from the stale cache.
    sys.dont_write_bytecode = True


def die_with_driver(lifeline: int, driver_pid: int, enable_pdeathsig: bool) -> list[str]:
    """Have the kernel kill this process when the driver ends, whatever this process is doing.

    Args:
        lifeline: A pipe's read end. Only the driver holds the write end, and writes nothing: end of file
            means that the driver has ended.
        driver_pid: The driver's process id, to detect that it has ended already.
        enable_pdeathsig: Use PR_SET_PDEATHSIG as well.

    Returns:
        Warnings for the log.
    """
    os.set_inheritable(lifeline, False)
    warnings = []
    if sys.platform == "linux":
        # The signal comes from the kernel, so a C loop that holds the GIL cannot delay it.
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(lifeline, _F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
        if enable_pdeathsig:
            warnings += die_with_parent()
    else:
        watch_lifeline_on_thread(lifeline)
    if os.getppid() != driver_pid or _is_at_end(lifeline):
        os._exit(1)  # the driver ended before the signals were set up
    return warnings


def close_all_but(wanted: set[int]) -> None:
    """Close every descriptor from 3 on except `wanted`. No object may close them a second time."""
    first = 3
    for descriptor in sorted(wanted):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, _HIGHEST_DESCRIPTOR)


def outlive_driver(lifeline: int) -> None:
    """Undo `die_with_driver`. Linux only. The caller must notice the driver's end itself."""
    fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_NONBLOCK)
    _prctl("PR_SET_PDEATHSIG", _PR_SET_PDEATHSIG, 0)


def watch_lifeline_on_thread(lifeline: int) -> None:
    """Kill this process when the lifeline ends, on systems whose kernel cannot do it.

    A C loop that holds the GIL delays the kill until the loop ends.
    """

    def watch() -> None:
        os.set_blocking(lifeline, True)
        os.read(lifeline, 1)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="gigaexec-lifeline", daemon=True).start()


def replace_environment(environment: dict[str, str]) -> list[str]:
    """Replace the environment that os.environ, C's getenv, child processes and /proc/self/environ show.

    Returns:
        Warnings for the log.
    """
    for name in list(os.environ):
        if name not in environment:
            del os.environ[name]
    # Also set variables that do not change: setenv(3) copies them to the heap. The original block is wiped
    # next.
    os.environ.update(environment)
    if sys.platform != "linux":
        return []
    try:
        start, end = _environment_block()
        # Not only zeros: the worker id must be readable here, also in children that fork and never exec. The
        # driver finds the orphans of a crashed worker by this id.
        shown = "".join(f"{name}={value}\0" for name, value in _marker_first(environment))
        block = os.fsencode(shown)[: end - start - 1]
        ctypes.memmove(start, block.ljust(end - start, b"\0"), end - start)
    except (OSError, ValueError, IndexError) as error:
        return [f"/proc/self/environ still shows the worker's initial environment: {error}"]
    return []


def _marker_first(environment: dict[str, str]) -> list[tuple[str, str]]:
    return sorted(environment.items(), key=lambda item: item[0] != "GIGAEVO_WORKER_ID")


def _environment_block() -> tuple[int, int]:
    # env_start and env_end: fields 50 and 51 of /proc/self/stat (proc(5)). The second field, the program's
    # name, may hold spaces; it ends at the last ')'.
    with open("/proc/self/stat", encoding="utf-8", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    start, end = int(fields[50 - 3]), int(fields[51 - 3])
    if not 0 < start <= end:
        raise ValueError(f"/proc/self/stat has no address of the environment block ({start}, {end})")
    return start, end


def _worker_environment(settings: WorkerSettings) -> dict[str, str]:
    return {
        **settings.environment,
        "GIGAEVO_WORKER_ID": settings.worker_id,
        "GIGAEVO_NODE_ID": settings.node_id,
    }


def _reset_signals() -> None:
    # Workers inherit ignored and blocked signals: the driver may run under nohup.
    for name in ("SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGCHLD"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # CallScope enables it while a program runs
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def adopt_orphans() -> list[str]:
    """Become a subreaper: adopt the orphans of all descendants. Returns warnings for the log."""
    if sys.platform != "linux":
        return []
    return _prctl("PR_SET_CHILD_SUBREAPER", _PR_SET_CHILD_SUBREAPER, 1)


def volunteer_for_oom_killer() -> None:
    """Raise the OOM score: when memory runs out, the kernel should kill a program, not the driver."""
    try:
        file = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        os.write(file, b"1000")
        os.close(file)
    except OSError:
        pass  # not Linux, or a hardened container: the kernel then chooses by size


def die_with_parent() -> list[str]:
    """Have the kernel kill this process when the *thread* that forked it ends. Returns warnings to log."""
    return _prctl("PR_SET_PDEATHSIG", _PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(name: str, option: int, value: int) -> list[str]:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) == 0:
        return []
    number = ctypes.get_errno()
    return [f"prctl({name}) failed: errno {number} ({os.strerror(number)})"]


def _is_at_end(lifeline: int) -> bool:
    try:
        return os.read(lifeline, 1) == b"" if not os.get_blocking(lifeline) else False
    except BlockingIOError:
        return False


EXIT_BROKEN = 70
"""Exit code of a worker whose engine failed: EX_SOFTWARE of sysexits.h."""


def preload(modules: tuple[str, ...]) -> str:
    """Import the modules of `preload`. Return the error text of the first that fails, or ""."""
    for name in modules:
        try:
            __import__(name)
        except BaseException as error:
            missing = error.name if isinstance(error, ModuleNotFoundError) else None
            if missing is not None and f"{name}.".startswith(f"{missing}."):
                return f"preload {name}: no such module"
            return f"preload {name}: cannot be imported\n{describe_exception(error).stderr}"
    return ""
