"""Starts and ends the process that workers are forked from: `worker.template`, in a new interpreter."""

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

_LAST_WORDS_BYTES = 8 * 1024

# How long a template may take to end by itself.
_LAST_WORDS_LIMIT_S = 1.0

# sys.path comes first, because site-packages may lie elsewhere than a bare interpreter looks. Before it is
# set nothing may be imported from a file: the current folder would come first, and it is anybody's. -P keeps
# the interpreter from that too: since 3.13 it imports a module to run what follows -c.
_BOOT = (
    "import sys; sys.path[:] = sys.argv[3:]; "
    "from gigaexec.worker.forked.template import main; main(int(sys.argv[1]), int(sys.argv[2]))"
)


class TemplateProcess:
    """A template from its start to its end. Used on one thread only, which lives as long as the template.

    Args:
        config: How workers run.

    Raises:
        OSError: The system refuses a process or a descriptor. Nothing is left then.
    """

    def __init__(self, config: WorkerConfig) -> None:
        self.story = ""
        """How it ended."""
        self._farewell: bytes | None = None
        settings = TemplateSettings(
            driver_pid=os.getpid(),
            node_id=config.node_id,
            enable_pdeathsig=config.enable_pdeathsig,
            preload=config.preload,
            policy=config.sandbox,
            spill_dir=str(config.spill_dir),
        )
        with ExitStack() as theirs, ExitStack() as ours:
            # A packet each: requests keep their borders, and their descriptors stay with them.
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
            BlockingIOError: It has not read many requests before this one.
            OSError: It has ended.
        """
        send_with_descriptors(self._requests, [request.encode()], descriptors)

    def has_ended(self) -> bool:
        """Whether it is dead."""
        return self._process.poll() is not None

    def farewell(self) -> bytes | None:
        """A `Refusal`, why it takes no more requests while its calls go on. b"": it has ended. None: it takes
        them.
        """
        if self._farewell is None:
            try:
                self._farewell = self._receive()
            except BlockingIOError:
                return None
            except OSError:
                self._farewell = b""
        return self._farewell

    def end(self, *, may_hang: bool = False) -> str:
        """End it, if it has not ended: at once, if it may hang. Returns its exit code and its last words."""
        self._requests.close()
        # The launcher ends after the template, with its exit code, and then nothing is left of either. The
        # cut lifeline kills it first, whatever the template does: that is busy importing, say.
        if may_hang:
            self._process.kill()
        self._has_ended_within(_LAST_WORDS_LIMIT_S)
        os.close(self._lifeline)
        if not self._has_ended_within(_LAST_WORDS_LIMIT_S):
            self._process.kill()
            self._has_ended_within(
                _LAST_WORDS_LIMIT_S
            )  # longer only where the kernel itself waits for a disk
        self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, self._stderr.tell() - _LAST_WORDS_BYTES))
        words = self._stderr.read().decode("utf-8", "replace").strip()
        self._stderr.close()
        self.story = f"exit code {self._process.returncode}" + (f"\n{words}" if words else "")
        return self.story

    def close_after_fork(self) -> None:
        """In a forked child: it is the parent's."""
        self._requests.close()
        os.close(self._lifeline)
        self._stderr.close()
        self._process.returncode = 0  # no child of this process: it must not be waited for, or warned of

    def _receive(self) -> bytes:
        try:
            return self._requests.recv(_LAST_WORDS_BYTES, socket.MSG_DONTWAIT)
        except ConnectionResetError:
            # Said before anything that was sent: it closed the socket with requests in it (unix(7)).
            return self._requests.recv(_LAST_WORDS_BYTES, socket.MSG_DONTWAIT)

    def _has_ended_within(self, limit_s: float) -> bool:
        try:
            self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return False
        return True


def _is_path(text: str) -> bool:
    """Whether it can be told to a process; what cannot is no folder either."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _interpreter_flags() -> list[str]:
    # What multiprocessing starts interpreters with; private, so not in typeshed.
    return list(subprocess._args_from_interpreter_flags())  # type: ignore[attr-defined]
