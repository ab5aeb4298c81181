"""Starts and ends a template: `worker.forked.launcher` in a new interpreter, which forks it."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack

from gigaexec.config import WorkerConfig
from gigaexec.wire.control import ForkRequest, TemplateSettings
from gigaexec.wire.descriptors import send_with_descriptors

_STDERR_BYTES = 8 * 1024

# Seconds that a template may take to end by itself, and then to end after its lifeline is closed.
_END_LIMIT_S = 1.0

# sys.path is set first, because a bare interpreter may not find the driver's site-packages. Before that,
# nothing may be imported from a file: the current folder would be searched first, and anybody may be able to
# write to it. -P keeps the interpreter from doing so itself: since 3.13 it imports a module to run -c.
_BOOT = (
    "import sys; sys.path[:] = sys.argv[3:]; "
    "from gigaexec.worker.forked.launcher import main; main(int(sys.argv[1]), int(sys.argv[2]))"
)


class TemplateProcess:
    """A template from its start to its end. Used on one thread only, which lives as long as the template.

    Args:
        config: How workers run.

    Raises:
        OSError: The system refuses a process or a descriptor. Nothing is left then.
    """

    def __init__(self, config: WorkerConfig) -> None:
        self.exit_report = ""
        """Exit code and last output, once it has ended."""
        self._drain_reason: bytes | None = None
        settings = TemplateSettings(
            driver_pid=os.getpid(),
            node_id=config.node_id,
            enable_pdeathsig=config.enable_pdeathsig,
            preload=config.preload,
            policy=config.sandbox,
            spill_dir=str(config.spill_dir),
        )
        with ExitStack() as theirs, ExitStack() as ours:
            # SOCK_SEQPACKET keeps message boundaries, so descriptors arrive with their request.
            self._requests, their_requests = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.callback(self._requests.close)
            theirs.callback(their_requests.close)
            their_lifeline, self._lifeline = os.pipe()
            ours.callback(os.close, self._lifeline)
            theirs.callback(os.close, their_lifeline)
            self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `end`
            ours.callback(self._stderr.close)
            descriptors = (their_requests.fileno(), their_lifeline)
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    *_interpreter_flags(),
                    "-P",
                    "-c",
                    _BOOT,
                    *map(str, descriptors),
                    *(entry for entry in sys.path if isinstance(entry, str) and _is_path(entry)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                env=config.worker_environment(),
                pass_fds=descriptors,
            )
            ours.callback(self._process.wait)
            ours.callback(self._process.kill)
            self._requests.send(pickle.dumps(settings, protocol=5))
            self._requests.setblocking(False)
            ours.pop_all()

    def ask(self, request: ForkRequest, descriptors: list[int]) -> None:
        """Ask for a worker. Never blocks.

        Raises:
            BlockingIOError: Too many earlier requests are unread.
            OSError: The template has ended.
        """
        send_with_descriptors(self._requests, [request.encode()], descriptors)

    def has_ended(self) -> bool:
        """True if it is dead."""
        return self._process.poll() is not None

    def drain_reason(self) -> bytes | None:
        """Return why the template takes no more requests.

        Returns:
            An encoded `StartRefusal` if the template drains: its calls continue. b"" if it has ended. None if
            it takes requests.
        """
        if self._drain_reason is None:
            try:
                self._drain_reason = self._receive()
            except BlockingIOError:
                return None
            except OSError:
                self._drain_reason = b""
        return self._drain_reason

    def end(self, *, may_hang: bool = False) -> str:
        """End the template. On return it is dead, unless the kernel waits for a disk.

        Args:
            may_hang: Kill it at once instead of letting it end by itself.

        Returns:
            Its exit code and the end of its stderr.
        """
        self._requests.close()
        # The launcher ends after the template, with the template's exit code. Closing the lifeline kills
        # both, also while the template imports modules.
        if may_hang:
            self._process.kill()
        self._has_ended_within(_END_LIMIT_S)
        os.close(self._lifeline)
        if not self._has_ended_within(_END_LIMIT_S):
            self._process.kill()
            self._has_ended_within(_END_LIMIT_S)
        self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, self._stderr.tell() - _STDERR_BYTES))
        text = self._stderr.read().decode("utf-8", "replace").strip()
        self._stderr.close()
        self.exit_report = f"exit code {self._process.returncode}" + (f"\n{text}" if text else "")
        return self.exit_report

    def close_after_fork(self) -> None:
        """In a forked child: close the descriptors. The template belongs to the parent."""
        self._requests.close()
        os.close(self._lifeline)
        self._stderr.close()
        self._process.returncode = 0  # not a child: keep subprocess from waiting for it

    def _receive(self) -> bytes:
        try:
            return self._requests.recv(_STDERR_BYTES, socket.MSG_DONTWAIT)
        except ConnectionResetError:
            # Reported before data that waits: the template closed the socket with requests unread (unix(7)).
            return self._requests.recv(_STDERR_BYTES, socket.MSG_DONTWAIT)

    def _has_ended_within(self, limit_s: float) -> bool:
        try:
            self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return False
        return True


def _is_path(text: str) -> bool:
    """True if the text can be an argument of a process; otherwise it cannot be a folder either."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _interpreter_flags() -> list[str]:
    # multiprocessing starts interpreters with these flags. The function is private, so not in typeshed.
    return list(subprocess._args_from_interpreter_flags())  # type: ignore[attr-defined]
