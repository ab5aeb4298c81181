"""The process of a worker that a template forked."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from gigaexec.pool.files.scratch import Scratch
from gigaexec.pool.supervision import process_tree
from gigaexec.pool.worker_process import KernelAccount, SupervisedProcess
from gigaexec.wire.control import StartRefusal, WorkerReport
from gigaexec.wire.descriptors import OwnedDescriptor, open_file_of

_REPORT_BYTES = 64 * 1024


class ForkedProcess(SupervisedProcess):
    """A forked worker that runs one call, and its root process, the init or supervisor above the worker.

    Neither process is a child of the driver.

    Args:
        control: The driver's end of the call's control socket. The program has no access to this socket.
        scratch: The call's scratch folder; None if the program is not confined.
        template: The template that the worker is forked from.
        why_no_template: Returns the reason why the template takes no more requests; None while the template
            takes requests.
    """

    def __init__(
        self,
        control: socket.socket,
        scratch: Scratch | None,
        template: object,
        why_no_template: Callable[[], StartRefusal | None],
    ) -> None:
        self.pid = self.root_pid = 0
        self.template = template
        self._control = control
        self._scratch = scratch
        self._why_no_template = why_no_template
        self._worker: OwnedDescriptor | None = None
        self._report: WorkerReport | None = None
        self._refusal: StartRefusal | None = None
        self._is_read = False
        self._is_at_end = False
        self._has_namespace = False

    def open_pidfd(self) -> None:
        """Return None, because the handshake brings the pidfd."""
        return

    def handshake_descriptor(self) -> int:
        return self._control.fileno()

    def complete_handshake(self, files: Sequence[OwnedDescriptor]) -> int:
        if len(files) != 2:
            raise ValueError(f"expected 2 descriptors with a worker's first message, got {len(files)}")
        root, worker = files
        self.root_pid, self._has_namespace = _pid_of(root.number)
        self.pid, _ = _pid_of(worker.number)
        self._worker = worker
        return root.release()

    def is_worker_dead(self) -> bool:
        if self._worker is None:
            return False
        poll = select.poll()
        poll.register(self._worker.number, select.POLLIN)
        return bool(poll.poll(0))

    def is_dead_unreaped(self) -> bool:
        # PID 1 of the namespace lives until the template has reaped the worker. Orphans of the worker have
        # become children of PID 1, so PID 1 without children means that all processes of the call are dead.
        if not self._has_namespace or not self.is_worker_dead():
            return False
        try:
            return not Path(f"/proc/{self.root_pid}/task/{self.root_pid}/children").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return True  # PID 1 has just ended
        except OSError:
            return False  # the list of children cannot be read

    def has_ended(self) -> bool:
        return self.is_worker_dead()

    def kill(self, pidfd: int | None) -> process_tree.Killing:
        """Kill the root process, and with it all processes of the call."""
        if pidfd is None:
            return True  # before the handshake: no program runs, and the worker ends when its channels close
        if not self._has_namespace:
            return (yield from process_tree.kill_tree(self.root_pid, pidfd))
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass  # the root process has ended already
        return True

    def exit_code(self) -> int | None:
        """Return the worker's exit code; None if it was not reported, because the root was killed too."""
        self._read_report()
        return None if self._report is None else os.waitstatus_to_exitcode(self._report.wait_status)

    def permanent_refusal(self) -> str:
        self._read_report()
        return self._refusal.text if self._refusal is not None and not self._refusal.is_shortage else ""

    def start_failure(self) -> StartRefusal | None:
        self._read_report()
        if self._refusal is not None or self._report is not None:
            return self._refusal
        # End of file without a message, while the template is alive, means that the template failed to
        # receive the request's descriptors.
        lost = StartRefusal(
            "the template process could not receive the descriptors for a worker", is_shortage=True
        )
        return self._why_no_template() or (lost if self._is_at_end and not self.pid else None)

    def account(self) -> KernelAccount | None:
        self._read_report()
        if self._report is None:
            return None
        return KernelAccount(self._report.peak_rss_kb, self._report.used)

    def open_file_of_worker(self, number: int) -> OwnedDescriptor:
        file = open_file_of(self.pid, number)
        if self.is_worker_dead():
            file.close()  # the worker's pid may have been reused
            raise ProcessLookupError("the worker has ended")
        return file

    def scratch_bytes(self, max_entries: int) -> int:
        return self._scratch.used_bytes(max_entries) if self._scratch is not None else 0

    def forget_after_fork(self) -> None:
        self._close()

    def dispose(self) -> None:
        """Close the control socket and the worker's pidfd, and remove the scratch folder."""
        self._close()
        if self._scratch is not None:
            self._scratch.remove()

    def _close(self) -> None:
        self._control.close()
        if self._worker is not None:
            self._worker.close()

    def _read_report(self) -> None:
        if self._is_read:
            return
        self._is_read = True
        try:
            text = self._control.recv(_REPORT_BYTES)
        except OSError:  # no report has arrived
            return
        self._is_at_end = not text
        self._refusal = StartRefusal.decode(text)
        if self._refusal is None and text:
            self._report = WorkerReport.decode(text)


def _pid_of(pidfd: int) -> tuple[int, bool]:
    """Return a process's pid, and True if the process is PID 1 of a PID namespace (proc_pid_fdinfo(5)).

    The pid is 0 if the process has been reaped: the kernel then shows -1, which kill(2) would take for all
    processes.
    """
    file = os.open(f"/proc/self/fdinfo/{pidfd}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        lines = os.read(file, 4096).splitlines()
    finally:
        os.close(file)
    numbers = {line.partition(b":")[0]: line.split()[1:] for line in lines}
    try:
        return max(0, int(numbers[b"Pid"][0])), numbers[b"NSpid"][-1] == b"1"
    except (KeyError, IndexError) as error:
        raise ValueError("expected a pidfd with a worker's first message, got another descriptor") from error
