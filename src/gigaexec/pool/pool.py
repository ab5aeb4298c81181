"""One life of a local backend: the way of a call through a pool, and of its value back.

Request --frames--> Job --> Dispatcher --> worker
                               |
Outcome <--value-- Ending <----'  on the dispatcher's thread, then on the caller's loop
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable

from gigaexec.calls import Outcome
from gigaexec.config import WorkerConfig
from gigaexec.errors import GigaexecError, SpillError
from gigaexec.hooks import HookDispatcher
from gigaexec.pool.dispatcher import Dispatcher
from gigaexec.pool.endings.outcome import failed_outcome, successful_outcome
from gigaexec.pool.files.spill import SpillDirectory, remove_spill
from gigaexec.pool.jobs import Ending, EndingKind, Job
from gigaexec.pool.request import Request
from gigaexec.pool.worker_process import WorkerStarter
from gigaexec.sandbox.policy import ResultFormat
from gigaexec.wire.values_in import decode_value, read_spilled_value, read_value_file


class Pool:
    """One life of a backend, from its first call to its shutdown.

    Args:
        config: How workers run.
        make_starter: Called once with the pool's spill directory.
        hooks: Told of starts and ends of workers.
        names_results: Whether a large result is a file that this process names; otherwise a file without a
            name is sent.

    Raises:
        SpillDirectoryError: The spill directory cannot be used.
        OSError: No descriptor is free.
        RuntimeError: No thread can be started.
    """

    def __init__(
        self,
        config: WorkerConfig,
        make_starter: Callable[[SpillDirectory], WorkerStarter],
        hooks: HookDispatcher,
        *,
        names_results: bool,
    ) -> None:
        self._names_results = names_results
        self._results = config.sandbox.format_of_results
        self._has_shared_folders = bool(config.sandbox.write)
        self._spill = SpillDirectory(config.spill_dir)
        try:
            starter = make_starter(self._spill)
            self._dispatcher = Dispatcher(config, starter, self._spill, hooks)
        except BaseException:
            self._spill.close()
            raise

    @property
    def has_failed(self) -> bool:
        return bool(self._dispatcher.failure)

    def stop(self) -> None:
        self._dispatcher.stop()

    def join(self, timeout_s: float | None = None) -> bool:
        return self._dispatcher.join(timeout_s)

    async def run(self, request: Request) -> Outcome:
        place = self._spill.new_path() if self._names_results else self._spill.folder
        ending = await self._ending(request, place)
        try:
            outcome = await self._read_outcome(ending, request, place)
        finally:
            if ending.may_have_spilled:
                self._remove_result(place)
            if ending.file is not None:
                ending.file.close()
        if isinstance(outcome.error, SpillError):
            self._spill.repair()
        return outcome

    async def _ending(self, request: Request, place: str) -> Ending:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Ending] = loop.create_future()
        arguments = request.arguments
        job = Job(
            request.frames(place),
            deadline_s=request.deadline_s,
            queue_timeout_s=request.queue_timeout_s,
            on_ended=functools.partial(self._deliver, loop, ended, place),
            files=arguments.files,
            own_bytes=arguments.own_bytes,
            limits=request.limits,
            shared_inodes=arguments.shared_inodes,
        )
        self._dispatcher.submit(job)
        try:
            return await asyncio.shield(ended)
        except asyncio.CancelledError:
            self._dispatcher.cancel(job)
            try:
                await asyncio.wait([ended])  # until the worker is dead
            finally:
                self._remove_result(place)  # the answer may have come first
            raise
        except GeneratorExit:  # the loop was closed under the call; nobody waits any more
            self._dispatcher.cancel(job)
            self._remove_result(place)
            raise

    def _deliver(
        self, loop: asyncio.AbstractEventLoop, ended: asyncio.Future[Ending], place: str, ending: Ending
    ) -> None:
        """Hand the ending over to the caller's loop. Runs on the dispatcher's thread."""
        if ending.kind is not EndingKind.ANSWERED:
            self._remove_result(place)  # a killed worker may have been writing it
        try:
            loop.call_soon_threadsafe(ended.set_result, ending)
        except RuntimeError:  # the caller's loop was closed under its call: nobody will read the result
            self._remove_result(place)

    def _remove_result(self, place: str) -> None:
        if self._names_results:
            remove_spill(place)

    def _has_file_alone(self, ending: Ending) -> bool:
        """Whether only the call itself, which is dead, can have had the file with its result open.

        Programs that can write to one folder can open each other's files, keep one, and cut it later.
        """
        if self._results is ResultFormat.PICKLE:  # such programs are trusted
            return True
        held = {step.name for step in ending.steps if step.held}
        is_apart = "seccomp" in held and not held.isdisjoint({"landlock_files", "read_only_mounts"})
        return is_apart and not self._has_shared_folders

    async def _read_outcome(self, ending: Ending, request: Request, place: str) -> Outcome:
        result = ending.result
        unreadable: GigaexecError | None = None
        if result is not None and result.layout is not None:
            try:
                if result.inline_value is not None:
                    value = decode_value(
                        memoryview(bytearray(result.inline_value)), result.layout, self._results
                    )
                elif ending.file is not None:
                    # A large value takes long to decode; the event loop goes on meanwhile.
                    value = await asyncio.to_thread(
                        read_value_file,
                        ending.file,
                        result.layout,
                        self._results,
                        is_exclusive=self._has_file_alone(ending),
                    )
                else:
                    value = await asyncio.to_thread(read_spilled_value, place, result.layout)
                return successful_outcome(ending, value)
            except GigaexecError as error:
                unreadable = error
        return failed_outcome(
            ending,
            deadline_s=request.deadline_s,
            queue_timeout_s=request.queue_timeout_s,
            unreadable=unreadable,
        )
