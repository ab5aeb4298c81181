"""Starts workers that run one call each: a template process forks them."""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from gigaexec.config import WorkerConfig
from gigaexec.errors import WorkerStartError
from gigaexec.pool.failure_log import in_one_line
from gigaexec.pool.files.scratch import Scratch
from gigaexec.pool.starters.forked_process import ForkedProcess
from gigaexec.pool.starters.template_process import TemplateProcess
from gigaexec.pool.worker_process import SupervisedProcess, WorkerPipes, WorkerProcess, WorkerStarter
from gigaexec.wire.control import ForkRequest, StartRefusal

logger = logging.getLogger(__name__)


class ForkserverStarter(WorkerStarter):
    """Starts the workers of a ForkserverBackend, and the template process that forks them.

    The first worker starts the template. If the template dies, the next worker starts a new one. A template
    that hangs or takes no more requests is retired: its calls continue, and the template ends after the last
    of these calls.

    Args:
        config: Configuration of the workers.
        new_scratch: Creates the scratch folder of one call.
        on_started: Called after each start of a template. If `on_started` raises, the template is ended.
    """

    def __init__(
        self,
        config: WorkerConfig,
        new_scratch: Callable[[], Scratch],
        on_started: Callable[[], None],
    ) -> None:
        self.spares = config.worker_count
        self._config = config
        self._new_scratch = new_scratch
        self._on_started = on_started
        self._running: TemplateProcess | None = None
        self._retired: set[TemplateProcess] = set()
        self._workers_of: Counter[TemplateProcess] = Counter()
        self._last_warning = ""

    def start_worker(self, worker_id: str) -> tuple[ForkedProcess, WorkerPipes]:
        """Ask the template to fork a worker. The worker reports on its channel when it is ready.

        Raises:
            WorkerStartError: The template takes no more requests, or the current folder was removed.
            OSError: A process, descriptor or folder cannot be created. Nothing is left behind.
        """
        scratch = self._new_scratch() if self._config.sandbox.confines else None
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
            self._workers_of[template] += 1
            process = ForkedProcess(control, scratch, template, lambda: self._why_no_requests(template))
            return process, WorkerPipes(channel, None, stdout, stderr)

    def retire_template(self, process: SupervisedProcess) -> None:
        if process.template is self._running and self._running is not None:
            logger.warning("pool %s: the template process hangs; starting another one", self._config.pool_id)
            self._retire(self._running)

    def forget(self, process: WorkerProcess) -> None:
        """Forget a worker. If this was the last worker of a retired template, the template is ended."""
        assert isinstance(process, SupervisedProcess)
        template = process.template
        assert isinstance(template, TemplateProcess)
        self._workers_of[template] -= 1
        if not self._workers_of[template]:
            del self._workers_of[template]
            if template in self._retired:
                self._retired.discard(template)
                template.end(may_hang=True)

    def on_idle(self) -> None:
        """End the template. The next worker starts a new one."""
        self.close()

    def close(self) -> None:
        """End the templates and the remaining processes of their workers."""
        running, self._running = self._running, None
        retired, self._retired = self._retired, set()
        if running is not None:
            running.end()
        for template in retired:
            template.end(may_hang=True)

    def close_after_fork(self) -> None:
        for template in self._retired.union({self._running} if self._running is not None else ()):
            template.close_after_fork()

    def _request(self, request: ForkRequest, descriptors: list[int]) -> TemplateProcess:
        if self._running is not None and self._running.has_ended():
            self._why_no_requests(self._running)  # stop using the dead template
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
            refusal = self._why_no_requests(self._running)
            text = refusal.text if refusal is not None else "the template process takes no requests"
            is_shortage = refusal is not None and refusal.is_shortage
            raise WorkerStartError(text) from (BlockingIOError(errno.EAGAIN, text) if is_shortage else error)
        return self._running

    def _why_no_requests(self, template: TemplateProcess) -> StartRefusal | None:
        """Return why a template takes no more requests, and stop using it. None while it takes requests."""
        reason = template.drain_reason()
        refusal = StartRefusal.decode(reason) if reason else None
        if template is self._running and reason is not None:
            if refusal is not None:
                self._warn(refusal.text)
                self._retire(template)
            else:
                self._running = None
                self._warn(f"the template process ended: {template.end()}")
        if refusal is None and template.exit_report:
            return StartRefusal(f"the template process ended: {template.exit_report}", is_shortage=False)
        return refusal

    def _retire(self, template: TemplateProcess) -> None:
        self._running = None
        if self._workers_of[template]:
            self._retired.add(template)
        else:
            template.end(may_hang=True)

    def _warn(self, text: str) -> None:
        if text != self._last_warning:  # during a shortage, the same text repeats twice a second
            self._last_warning = text
            logger.warning("pool %s: %s", self._config.pool_id, in_one_line(text))
            logger.debug("pool %s: %s", self._config.pool_id, text)


def _current_folder() -> str:
    try:
        return str(Path.cwd())
    except FileNotFoundError as error:
        raise WorkerStartError(
            "the current folder of this process was removed; os.chdir() to one that exists"
        ) from error
