"""Once a process: turn a fresh Python process into a worker.

Order matters. Death with the driver first, so that no failure further down leaves an orphan. Then the
environment, before any library can read a secret out of it.
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

_HIGHEST_DESCRIPTOR = 1 << 20  # beyond what Linux allows by default (fs.nr_open)


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker process is told when it starts.

    Args:
        worker_id: 12 hex digits, new for this process.
        node_id: Name of the driver's machine.
        driver_pid: Process id of the driver.
        environment: The whole environment that this process may have.
        enable_pdeathsig: Whether to ask for PR_SET_PDEATHSIG.
        max_rss_kb: Retire after a call that leaves more resident memory than this; None is never.
        preload: Modules to import before the first call.
        channel: Descriptor of the socket to the driver.
        lifeline: Descriptor of a pipe whose other end the driver alone holds.
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
    """Prepare this process. Call once, on the main thread, before any other thread runs.

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
    """Set what programs expect of a fresh interpreter, and what keeps it from leaving files behind.

    All of it is inherited by forked processes.
    """
    _reset_signals()
    faulthandler.enable(file=2, all_threads=True)
    # What started this process may have left its own method here, which fails in programs.
    multiprocessing.set_start_method(None, force=True)
    if sys.platform == "linux":
        # The default of Python 3.14 starts interpreters, which cannot import a program that is in no file.
        default: Any = multiprocessing.context._default_context
        default._default_context = multiprocessing.get_context("fork")
    # Helper modules of a problem are compiled anew rather than left as __pycache__ in the user's folder,
    # where a file rewritten within a second at the same size would be taken from the stale cache.
    sys.dont_write_bytecode = True


def die_with_driver(lifeline: int, driver_pid: int, enable_pdeathsig: bool) -> list[str]:
    """Make the kernel kill this process when the driver ends, whatever this process is doing then.

    Args:
        lifeline: A pipe's read end. Only the driver holds the write end and writes nothing: end of file
            means that the driver is gone.
        driver_pid: Its process id, to see whether it is gone already.
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
        os._exit(1)  # it ended before the kernel was told to watch
    return warnings


def close_all_but(wanted: set[int]) -> None:
    """Close every descriptor from 3 on but these. Objects that held others must never be finalised."""
    first = 3
    for descriptor in sorted(wanted):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, _HIGHEST_DESCRIPTOR)


def outlive_driver(lifeline: int) -> None:
    """Take back what `die_with_driver` did. Linux only. The caller must notice the driver's end itself."""
    fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_NONBLOCK)
    _prctl("PR_SET_PDEATHSIG", _PR_SET_PDEATHSIG, 0)


def watch_lifeline_on_thread(lifeline: int) -> None:
    """Kill this process when the lifeline ends, where the kernel cannot be asked to.

    A C loop that holds the GIL delays it until the loop ends.
    """

    def watch() -> None:
        os.set_blocking(lifeline, True)
        os.read(lifeline, 1)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="gigaexec-lifeline", daemon=True).start()


def replace_environment(environment: dict[str, str]) -> list[str]:
    """Make `environment` all that os.environ, C's getenv, child processes and /proc/self/environ show.

    Returns:
        Warnings for the log.
    """
    for name in list(os.environ):
        if name not in environment:
            del os.environ[name]
    # Set anew even where nothing changes: setenv(3) copies to the heap, away from the block wiped next.
    os.environ.update(environment)
    if sys.platform != "linux":
        return []
    try:
        start, end = _environment_block()
        # Not only zeros: the worker id must be readable here, also in children that fork and never exec.
        # By it the driver finds what a crashed worker left behind.
        shown = "".join(f"{name}={value}\0" for name, value in _marker_first(environment))
        block = os.fsencode(shown)[: end - start - 1]
        ctypes.memmove(start, block.ljust(end - start, b"\0"), end - start)
    except (OSError, ValueError, IndexError) as error:
        return [f"/proc/self/environ still shows the environment that the worker was started with: {error}"]
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
        raise ValueError(f"the kernel gives no place of the block ({start}, {end})")
    return start, end


def _worker_environment(settings: WorkerSettings) -> dict[str, str]:
    return {
        **settings.environment,
        "GIGAEVO_WORKER_ID": settings.worker_id,
        "GIGAEVO_NODE_ID": settings.node_id,
    }


def _reset_signals() -> None:
    # The driver may have run under nohup, or with signals blocked: both are inherited.
    for name in ("SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGCHLD"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # CallScope lets it through while a program runs
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def adopt_orphans() -> list[str]:
    """Become the parent of what descendants orphan. Returns warnings for the log."""
    if sys.platform != "linux":
        return []
    return _prctl("PR_SET_CHILD_SUBREAPER", _PR_SET_CHILD_SUBREAPER, 1)


def volunteer_for_oom_killer() -> None:
    """When memory runs out, the kernel should end a program rather than the driver."""
    try:
        file = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        os.write(file, b"1000")
        os.close(file)
    except OSError:
        pass  # not Linux, or a hardened container: the kernel then chooses by size, which mostly agrees


def die_with_parent() -> list[str]:
    """Ask the kernel to kill this process when the *thread* that forked it ends. Returns warnings."""
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
"""Exit code of a worker that cannot go on: EX_SOFTWARE of sysexits.h."""


def preload(modules: tuple[str, ...]) -> str:
    """Import modules that programs will want. Returns why that cannot be done, or ""."""
    for name in modules:
        try:
            __import__(name)
        except BaseException as error:
            return f"the module {name!r} of preload cannot be imported:\n{describe_exception(error).stderr}"
    return ""
