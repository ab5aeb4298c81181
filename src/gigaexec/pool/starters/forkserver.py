"""Starts workers that run one call each, by asking a template process to fork."""

from __future__ import annotations

import errno
import logging
import os
import select
import signal
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from gigaexec.config import WorkerConfig
from gigaexec.errors import WorkerStartError
from gigaexec.pool.files.scratch import Scratch
from gigaexec.pool.starters.contract import KernelAccount, WorkerPipes, WorkerProcess
from gigaexec.pool.starters.template_process import TemplateProcess
from gigaexec.pool.supervision import process_tree
from gigaexec.wire.control import ForkRequest, StartRefusal, WorkerReport
from gigaexec.wire.descriptors import OwnedDescriptor, open_file_of

logger = logging.getLogger(__name__)

_REPORT_BYTES = 64 * 1024


class ForkedProcess:
    """The worker of one call, and the keeper above it, which is no child of this process.

    Args:
        control: This process's end of the keeper's own socket.
        scratch: The call's scratch folder, or None.
        origin: The template that it is forked from.
        why_no_template: Says why the template takes no requests, or None.
    """

    is_single_use = True

    def __init__(
        self,
        control: socket.socket,
        scratch: Scratch | None,
        origin: object,
        why_no_template: Callable[[], StartRefusal | None],
    ) -> None:
        self.origin = origin
        self._control = control
        self._worker: OwnedDescriptor | None = None
        self._why_no_template = why_no_template
        self._scratch = scratch
        self._report: WorkerReport | None = None
        self._refusal: StartRefusal | None = None
        self._is_read = False
        self._is_at_end = False
        self._has_namespace = False
        self.pid = 0
        self.root_pid = 0

    def open_pidfd(self) -> None:
        """Not yet: it comes with the worker's first message."""
        return

    def introduction(self) -> int:
        """The keeper's socket: it ends when there is no keeper."""
        return self._control.fileno()

    def introduce(self, files: Sequence[OwnedDescriptor]) -> int:
        """Take the pidfds of keeper and worker."""
        if len(files) != 2:
            raise ValueError(f"a first message with {len(files)} descriptors")
        keeper, worker = files
        self.root_pid, self._has_namespace = _pid_of(keeper.number)
        self.pid, _ = _pid_of(worker.number)
        self._worker = worker
        return keeper.release()

    def is_dead(self) -> bool:
        if self._worker is None:
            return False
        poll = select.poll()
        poll.register(self._worker.number, select.POLLIN)
        return bool(poll.poll(0))

    def is_dead_unreaped(self) -> bool:
        # The first process of the namespace waits until the template has reaped the worker. What the worker
        # left has become its children.
        if not self._has_namespace or not self.is_dead():
            return False
        try:
            return not Path(f"/proc/{self.root_pid}/task/{self.root_pid}/children").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return True  # it has just ended
        except OSError:
            return False  # not to be known

    def has_ended(self) -> bool:
        return self.is_dead()

    def kill(self, pidfd: int | None) -> bool:
        """Kill the keeper, and all processes of the call with it."""
        if pidfd is None:
            return True  # it was never introduced: nothing runs in it, and it ends with its channels
        if not self._has_namespace:
            return process_tree.kill_tree(self.root_pid, pidfd)
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it has ended already
        return True

    def exit_code(self) -> int | None:
        """The worker's; None where its keeper was killed with it."""
        self._read_report()
        return None if self._report is None else os.waitstatus_to_exitcode(self._report.wait_status)

    def refusal(self) -> str:
        self._read_report()
        return self._refusal.text if self._refusal is not None and not self._refusal.is_shortage else ""

    def is_short_of_something(self) -> bool:
        refusal = self._why_it_is_not()
        return refusal is not None and refusal.is_shortage

    def failure(self) -> str:
        refusal = self._why_it_is_not()
        return refusal.text if refusal is not None else ""

    def _why_it_is_not(self) -> StartRefusal | None:
        self._read_report()
        if self._refusal is not None or self._report is not None:
            return self._refusal
        # A living template that closes the socket and says nothing could not receive the request.
        lost = StartRefusal(
            "the template process could not receive what is needed for a worker", is_shortage=True
        )
        return self._why_no_template() or (lost if self._is_at_end and not self.pid else None)

    def account(self) -> KernelAccount | None:
        self._read_report()
        if self._report is None:
            return None
        return KernelAccount(self._report.peak_rss_kb, self._report.used)

    def open_file_of_worker(self, number: int) -> OwnedDescriptor:
        file = open_file_of(self.pid, number)
        if self.is_dead():
            file.close()  # the number of the process may be another one's by now
            raise ProcessLookupError("the worker has ended")
        return file

    def scratch_bytes(self, max_entries: int) -> int:
        """Disk space that the scratch folder takes up; of at most so many entries."""
        return self._scratch.used_bytes(max_entries) if self._scratch is not None else 0

    def forget_after_fork(self) -> None:
        self._close()

    def dispose(self) -> None:
        """Remove the scratch folder."""
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
        except OSError:  # nothing is there
            return
        self._is_at_end = not text
        self._refusal = StartRefusal.decode(text)
        if self._refusal is None and text:
            self._report = WorkerReport.decode(text)


class ForkedWorkers:
    """The workers of a ForkserverBackend, and their template process.

    That is started when it is first needed, and again when it has died.

    Used on the dispatcher's thread only.

    Args:
        config: How workers run.
        new_scratch: Makes a scratch folder.
        on_started: Called after each start of a template. What it raises ends it and is raised on.
    """

    leaves_orphans = False

    def __init__(
        self,
        config: WorkerConfig,
        new_scratch: Callable[[], Scratch],
        on_started: Callable[[], None],
    ) -> None:
        self._config = config
        self._policy = config.sandbox
        self._on_started = on_started
        self.spares = config.worker_count
        self._new_scratch = new_scratch
        self._running: TemplateProcess | None = None
        self._aside: set[TemplateProcess] = set()
        self._last_warning = ""
        self._users: Counter[TemplateProcess] = Counter()

    def start_worker(self, worker_id: str) -> tuple[ForkedProcess, WorkerPipes]:
        """Ask for a worker. It reports on its channel when it is ready.

        Raises:
            OSError: The system refuses a process, a descriptor or a folder. Nothing is left then.
        """
        scratch = self._new_scratch() if self._policy.confines else None
        with ExitStack() as theirs, ExitStack() as ours:
            if scratch is not None:
                ours.callback(scratch.remove)
            channel, their_channel = socket.socketpair()
            ours.callback(channel.close)
            theirs.callback(their_channel.close)
            control, their_control = socket.socketpair()
            ours.callback(control.close)
            theirs.callback(their_control.close)
            stdout, their_stdout = os.pipe()
            ours.callback(os.close, stdout)
            theirs.callback(os.close, their_stdout)
            stderr, their_stderr = os.pipe()
            ours.callback(os.close, stderr)
            theirs.callback(os.close, their_stderr)
            control.setblocking(False)
            request = ForkRequest(
                worker_id=worker_id,
                folder="" if scratch is not None else _current_folder(),
                scratch=scratch.path if scratch is not None else "",
            )
            template = self._request(
                request, [their_channel.fileno(), their_control.fileno(), their_stdout, their_stderr]
            )
            ours.pop_all()
            self._users[template] += 1
            process = ForkedProcess(control, scratch, template, lambda: self._why_no_template(template))
            return process, WorkerPipes(channel, None, stdout, stderr)

    def set_aside(self, process: WorkerProcess) -> None:
        """Start no more workers with the template of that one, which may hang. The calls that run go on."""
        if process.origin is self._running and self._running is not None:
            logger.warning("pool %s: the template process starts no worker", self._config.pool_id)
            self._set_aside(self._running)

    def forget(self, process: WorkerProcess) -> None:
        """End the template of that ended worker, if it was set aside and has no other."""
        template = process.origin
        assert isinstance(template, TemplateProcess)
        self._users[template] -= 1
        if not self._users[template]:
            del self._users[template]
            if template in self._aside:
                self._aside.discard(template)
                template.end(may_hang=True)

    def rest(self) -> None:
        """End the template until it is needed again."""
        self.close()

    def close(self) -> None:
        """End the templates and whatever is left of their workers."""
        running, self._running = self._running, None
        aside, self._aside = self._aside, set()
        if running is not None:
            running.end()
        for template in aside:
            template.end(may_hang=True)

    def close_after_fork(self) -> None:
        """In a forked child: the templates are the parent's."""
        for template in self._aside.union({self._running} if self._running is not None else ()):
            template.close_after_fork()

    def _request(self, request: ForkRequest, descriptors: list[int]) -> TemplateProcess:
        if self._running is not None and self._running.has_ended():
            self._why_no_template(self._running)  # forgets it
        if self._running is None:
            self._running = TemplateProcess(self._config)
            try:
                self._on_started()
            except BaseException:
                running, self._running = self._running, None
                running.end()
                raise
        try:
            self._running.ask(request, descriptors)
        except (BrokenPipeError, ConnectionResetError) as error:
            refusal = self._why_no_template(self._running)
            text = refusal.text if refusal is not None else "the template process takes no requests"
            is_short = refusal is not None and refusal.is_shortage
            raise WorkerStartError(text) from (BlockingIOError(errno.EAGAIN, text) if is_short else error)
        return self._running

    def _why_no_template(self, template: TemplateProcess) -> StartRefusal | None:
        """Why a template takes no more requests; None where it does."""
        farewell = template.farewell()
        refusal = StartRefusal.decode(farewell) if farewell else None
        if template is self._running and farewell is not None:
            if refusal is not None:
                self._warn(refusal.text)
                self._set_aside(template)
            else:
                self._bury()
        if refusal is None and template.story:
            return StartRefusal(f"the template process ended: {template.story}", is_shortage=False)
        return refusal

    def _set_aside(self, template: TemplateProcess) -> None:
        self._running = None
        if self._users[template]:
            self._aside.add(template)
        else:
            template.end(may_hang=True)

    def _bury(self) -> None:
        """Forget a template that has ended, or is ending."""
        running, self._running = self._running, None
        assert running is not None
        self._warn(f"the template process ended: {running.end()}")

    def _warn(self, text: str) -> None:
        if text != self._last_warning:  # a shortage brings the same twice a second
            self._last_warning = text
            logger.warning("pool %s: %s", self._config.pool_id, text)


def _current_folder() -> str:
    try:
        return str(Path.cwd())
    except FileNotFoundError as error:
        raise WorkerStartError(
            "the current folder of this process was removed; os.chdir() to one that exists"
        ) from error


def _pid_of(pidfd: int) -> tuple[int, bool]:
    """The process's id here, and whether it is the first of its PID namespace (proc_pid_fdinfo(5))."""
    file = os.open(f"/proc/self/fdinfo/{pidfd}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        lines = os.read(file, 4096).splitlines()
    finally:
        os.close(file)
    numbers = {line.partition(b":")[0]: line.split()[1:] for line in lines}
    try:
        return int(numbers[b"Pid"][0]), numbers[b"NSpid"][-1] == b"1"
    except (KeyError, IndexError) as error:
        raise ValueError("a descriptor that is no pidfd") from error
