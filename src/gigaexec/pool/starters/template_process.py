"""Starts and ends a template process: a new interpreter runs `worker.forked.launcher`, which forks it."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import tempfile
from contextlib import ExitStack

from gigaexec.config import WorkerConfig
from gigaexec.pool.starters.interpreter import interpreter_command
from gigaexec.wire.control import ForkRequest, TemplateSettings
from gigaexec.wire.descriptors import send_with_descriptors

_STDERR_BYTES = 8 * 1024

# Seconds to wait for a template to end by itself. Then its lifeline is closed, and the same wait starts
# again.
_END_LIMIT_S = 1.0

_MAIN = "from gigaexec.worker.forked.launcher import main; main(int(sys.argv[1]), int(sys.argv[2]))"


class TemplateProcess:
    """A template process, from its start to its end.

    Used on one thread only. The thread must live as long as the template, because the kernel's parent-death
    signal fires when the thread ends.

    Args:
        config: Configuration of the workers.

    Raises:
        OSError: A process or descriptor cannot be created. Nothing is left behind.
    """

    def __init__(self, config: WorkerConfig) -> None:
        self.exit_report = ""
        """Exit code and last output of a template that has ended; "" before its end."""
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
                interpreter_command(_MAIN, *descriptors),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                env=config.worker_environment(),
                pass_fds=descriptors,
                start_new_session=True,  # Ctrl-C in the terminal must not interrupt its imports
            )
            ours.callback(self._process.wait)
            ours.callback(self._process.kill)
            self._requests.send(pickle.dumps(settings, protocol=5))
            self._requests.setblocking(False)
            ours.pop_all()

    def ask(self, request: ForkRequest, descriptors: list[int]) -> None:
        """Ask the template to fork a worker. Never blocks.

        Raises:
            BlockingIOError: The socket is full, because the template has not read earlier requests.
            OSError: The template has ended.
        """
        send_with_descriptors(self._requests, [request.encode()], descriptors)

    def has_ended(self) -> bool:
        """True if the launcher is dead. The launcher ends after the template."""
        return self._process.poll() is not None

    def drain_reason(self) -> bytes | None:
        """Return why the template takes no more requests.

        Returns:
            An encoded `StartRefusal` if the template forks no more workers, while its calls continue. b"" if
            the template has ended. None if the template takes requests.
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
        """End the template. On return, the template is dead, unless it waits for a disk uninterruptibly.

        Args:
            may_hang: True to kill the template at once. False to let it end by itself first.

        Returns:
            Exit code of the template, and the last bytes of its stderr.
        """
        self._requests.close()
        # The launcher ends after the template, with the template's exit code. Closing the lifeline kills
        # launcher and template, even while the template imports modules.
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
        """Close the descriptors in a forked child. The template belongs to the parent."""
        self._requests.close()
        os.close(self._lifeline)
        self._stderr.close()
        self._process.returncode = 0  # not a child of this process, so subprocess must not wait

    def _receive(self) -> bytes:
        try:
            return self._requests.recv(_STDERR_BYTES, socket.MSG_DONTWAIT)
        except ConnectionResetError:
            # The template closed the socket with requests unread. Linux reports this before any waiting data
            # (unix(7)), so read again.
            return self._requests.recv(_STDERR_BYTES, socket.MSG_DONTWAIT)

    def _has_ended_within(self, limit_s: float) -> bool:
        try:
            self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return False
        return True
