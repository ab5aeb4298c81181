"""The pool of a local backend: runs requests in workers, and returns their outcomes.

Request --frames--> Job --> Dispatcher --> worker
                               |
Outcome <--value-- Ending <----'

The dispatcher's thread creates the ending. The caller's event loop makes the outcome. A small plain value is
decoded on the event loop, other plain data on a thread of asyncio, a pickle on a thread of its own.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import pickle
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from gigaexec.calls import Outcome, WorkerCall
from gigaexec.checks import require_seconds
from gigaexec.config import WorkerConfig
from gigaexec.errors import GigaexecError, InvalidCallError, SpillError
from gigaexec.hooks import HookDispatcher
from gigaexec.limits import Limits
from gigaexec.pool.decoding_threads import MIN_LIMIT_S, DecodingThreads
from gigaexec.pool.dispatcher import Dispatcher
from gigaexec.pool.endings.outcome import failed_outcome, successful_outcome
from gigaexec.pool.files.programs import ProgramFolders, remove_program_folders
from gigaexec.pool.files.spill import SpillDirectory, remove_spill
from gigaexec.pool.jobs import Ending, EndingKind, Job
from gigaexec.pool.worker_process import WorkerStarter
from gigaexec.sandbox.policy import ResultFormat
from gigaexec.untrusted.log_text import one_line
from gigaexec.wire.arguments_out import EncodedArguments, encode_arguments
from gigaexec.wire.encoded import EncodedCall, EncodedOutcome, absolute_folder
from gigaexec.wire.messages import CallHeader, frame_prefix
from gigaexec.wire.values_in import ValueBytes, open_spilled_value, read_spilled_value, read_value_file

logger = logging.getLogger(__name__)

_T = TypeVar("_T")


class Request:
    """A checked call with its encoded arguments, deadlines and limits.

    Args:
        call: The call.
        deadline_s: Seconds that the call may run.
        queue_timeout_s: Seconds that the call may wait for a worker; None for no limit.
        limits: Limits of the call.
        arguments: Arguments that are encoded already, for example by another machine. If None, the arguments
            of `call` are pickled.

    Raises:
        InvalidCallError: `call` is not a WorkerCall, or an argument cannot be pickled.
        ConfigurationError: `deadline_s` or `queue_timeout_s` is out of range.
    """

    def __init__(
        self,
        call: WorkerCall,
        deadline_s: float,
        queue_timeout_s: float | None,
        limits: Limits,
        arguments: EncodedArguments | None = None,
    ) -> None:
        if not isinstance(call, WorkerCall):
            raise InvalidCallError(f"call must be a WorkerCall, not {type(call).__name__}")
        self.call = call
        self.deadline_s = require_seconds("deadline_s", deadline_s)
        self.queue_timeout_s = (
            None
            if queue_timeout_s is None
            else require_seconds("queue_timeout_s", queue_timeout_s, allow_zero=True)
        )
        self.limits = limits
        self._python_path = [absolute_folder(entry) for entry in call.python_path]
        self.arguments = arguments if arguments is not None else encode_arguments(call)

    @classmethod
    def from_encoded(cls, encoded: EncodedCall, limits: Limits) -> Request:
        """Create the request for a call whose arguments are already encoded; a worker gets them unchanged.

        Args:
            encoded: The call with its encoded arguments and deadlines.
            limits: The limits that apply to the call: its own limits combined with the backend's limits.

        Raises:
            ConfigurationError: `deadline_s` or `queue_timeout_s` is out of range.
        """
        value = encoded.arguments
        arguments = EncodedArguments(memoryview(value.contents), layout=value.layout)
        return cls(encoded.call, encoded.deadline_s, encoded.queue_timeout_s, limits, arguments)

    def frames(self, result_place: str, program_folder: str) -> list[bytes | memoryview]:
        """Return the bytes to send to a worker.

        Args:
            result_place: Path of the spill file for a large result, or of the folder in which the worker
                creates an unnamed file for it (O_TMPFILE).
            program_folder: Folder for the program's text; "" if the worker uses the call's scratch folder.
        """
        call, arguments = self.call, self.arguments
        header = pickle.dumps(
            CallHeader(
                call.code,
                call.function_name,
                self._python_path,
                call.env,
                result_place,
                program_folder,
                call.file,
                call.seed,
                self.limits,
                arguments.maps,
                arguments.layout,
            ),
            protocol=5,
        )
        return [
            frame_prefix(len(header)) + header,
            frame_prefix(len(arguments.contents)),
            arguments.contents,
        ]


class Pool:
    """The workers, queue and files of a local backend, from its first call to its shutdown.

    Args:
        config: Configuration of the workers.
        make_starter: Creates the starter of the workers. Called once, with the pool's spill directory.
        hooks: Called when a worker starts or ends.
        decoding: The threads that decode pickled values.
        names_results: True if the driver chooses the path of the spill file for a large result. False if the
            worker writes a large result to an unnamed file and sends the file's descriptor.

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
        decoding: DecodingThreads,
        *,
        names_results: bool,
    ) -> None:
        self._names_results = names_results
        self._decoding = decoding
        self._results = config.sandbox.format_of_results
        self._has_shared_folders = bool(config.sandbox.write)
        self._is_confined = config.sandbox.confines
        self._spill = SpillDirectory(config.spill_dir)
        self._programs = ProgramFolders()
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
        """Run a call and decode its value.

        On return, the worker is idle or dead, all processes that the program started are dead, and the call's
        spill file is removed. This is also true when `CancelledError` is raised in the awaiting task.
        """
        return await self._run(request, functools.partial(self._decode, request))

    async def run_encoded(self, request: Request) -> EncodedOutcome:
        """Run a call and return its value encoded. This process decodes nothing that the program made.

        On return, worker, processes and spill file are in the same state as after `run`. The value's bytes
        are in memory, or in a mapping of an unlinked file. The kernel frees the disk space of the file when
        the last reference to the bytes is dropped.
        """
        return await self._run(request, self._keep)

    async def _run(self, request: Request, finish: Callable[[EncodedOutcome], Awaitable[_T]]) -> _T:
        place = self._spill.new_path() if self._names_results else self._spill.folder
        with self._program_folder(request.call) as program_folder:
            ending = await self._ending(request, place, program_folder)
        try:
            result = ending.result
            if result is None or result.layout is None:
                return await finish(self._failed(ending, request))
            if result.warning:
                logger.warning("%s: %s", one_line(request.call.function_name), one_line(result.warning[:500]))
            if result.inline_value is not None:
                value = ValueBytes(result.layout, result.inline_value)
                return await finish(EncodedOutcome(successful_outcome(ending, None), value))
            # A large value is read on another thread, so that the event loop is not blocked.
            return await finish(await asyncio.to_thread(self._read, ending, request, place))
        finally:
            if ending.may_have_spilled:
                self._remove_result(place)
            # `ending.file` is closed by `_read`, on the thread that may still read when the caller is
            # cancelled, or with the ending if nobody reads it.

    async def _decode(self, request: Request, encoded: EncodedOutcome) -> Outcome:
        outcome = encoded.decode_at_once()
        if outcome is not None:
            return outcome
        decode = functools.partial(encoded.decode, self._results)
        if not encoded.is_pickle:
            return await asyncio.to_thread(decode)
        left_s = request.deadline_s - encoded.outcome.run_time_s
        try:
            return await self._decoding.run(decode, max(left_s, MIN_LIMIT_S))
        except GigaexecError as error:
            return encoded.failed(error)

    async def _keep(self, encoded: EncodedOutcome) -> EncodedOutcome:
        if encoded.value is not None and not encoded.value.is_allowed(self._results):
            return EncodedOutcome(encoded.decode(self._results))  # decode() reports the wrong format
        return encoded

    @contextmanager
    def _program_folder(self, call: WorkerCall) -> Iterator[str]:
        """Reserve the folder of a call's program; "" if the call has a scratch folder."""
        if self._is_confined:
            yield ""
            return
        program = self._spill.programs_folder, call.code, call.file
        folder, unused = self._programs.take(*program)
        if unused:
            asyncio.get_running_loop().run_in_executor(None, remove_program_folders, unused)
        try:
            yield folder
        finally:
            self._programs.give_back(*program)

    async def _ending(self, request: Request, place: str, program_folder: str) -> Ending:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Ending] = loop.create_future()
        arguments = request.arguments
        job = Job(
            request.frames(place, program_folder),
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
                await asyncio.wait([ended])  # wait until the worker is dead
            finally:
                self._remove_result(place)  # the worker may have written a result before it was killed
            raise
        except GeneratorExit:  # the event loop was closed while the call ran, so nobody awaits the call
            self._dispatcher.cancel(job)
            self._remove_result(place)
            raise

    def _deliver(
        self, loop: asyncio.AbstractEventLoop, ended: asyncio.Future[Ending], place: str, ending: Ending
    ) -> None:
        """Pass the ending to the caller's loop. See `Job` for the thread that calls this."""
        if ending.kind is not EndingKind.ANSWERED:
            self._remove_result(place)  # a killed worker may have left a partial file
        elif ending.result is not None and ending.result.spill_path is not None:
            ending = self._with_open_file(ending, place)
        try:
            loop.call_soon_threadsafe(ended.set_result, ending)
        except RuntimeError:  # the caller's event loop was closed while the call ran: nobody reads the result
            self._remove_result(place)

    def _with_open_file(self, ending: Ending, place: str) -> Ending:
        """Open the spill file and remove its path, so that a shutdown cannot remove an unread value.

        If the file cannot be opened, for example because no descriptor is free, `_read` tries again.
        """
        try:
            file = open_spilled_value(place)
        except SpillError:
            return ending
        self._remove_result(place)
        return replace(ending, file=file)

    def _remove_result(self, place: str) -> None:
        if self._names_results:
            remove_spill(place)

    def _has_file_alone(self, ending: Ending) -> bool:
        """True if only the call's processes, all dead by now, can have opened the call's result file.

        If programs can write to a common folder, one program can open the result file of another program,
        keep the file open and truncate it later.
        """
        if self._results is ResultFormat.PICKLE:  # pickled results are accepted from trusted programs only
            return True
        held = {step.name for step in ending.steps if step.held}
        is_apart = "seccomp" in held and not held.isdisjoint({"landlock_files", "read_only_mounts"})
        return is_apart and not self._has_shared_folders

    def _read(self, ending: Ending, request: Request, place: str) -> EncodedOutcome:
        """Read the call's value from its result file. A failure to read becomes the outcome's error."""
        assert ending.result is not None
        assert ending.result.layout is not None
        try:
            if self._names_results:
                file = ending.file or open_spilled_value(place)
                value = read_spilled_value(file, ending.result.layout, place)
            else:
                assert ending.file is not None
                value = read_value_file(
                    ending.file,
                    ending.result.layout,
                    is_exclusive=self._has_file_alone(ending),
                    must_be_written=self._results is ResultFormat.DATA,
                )
        except GigaexecError as error:
            return self._failed(ending, request, error)
        return EncodedOutcome(successful_outcome(ending, None), value)

    def _failed(
        self, ending: Ending, request: Request, unreadable: GigaexecError | None = None
    ) -> EncodedOutcome:
        outcome = failed_outcome(
            ending,
            deadline_s=request.deadline_s,
            queue_timeout_s=request.queue_timeout_s,
            unreadable=unreadable,
        )
        if isinstance(outcome.error, SpillError):
            self._spill.repair()
        return EncodedOutcome(outcome)
