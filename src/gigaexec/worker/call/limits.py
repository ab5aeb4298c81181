"""Sets the limits that the kernel enforces in the process that runs a call.

The driver enforces the limits on all processes of a call together: memory, CPU time and number of processes.
It samples these processes in `pool.supervision.limit_watch`.
"""

from __future__ import annotations

import enum
import errno
import os
import resource
import time
from types import TracebackType
from typing import Any

from gigaexec.calls import LimitHit
from gigaexec.limits import Limits

SOFT_DEADLINE_VARIABLE = "GIGAEVO_EXEC_SOFT_DEADLINE_EPOCH"

# The driver kills a call that exceeds its memory limit. RLIMIT_DATA is higher than this limit by a headroom,
# so that the driver kills the call before an allocation fails: after a failed allocation, numerical libraries
# exit, hang or crash. Measured with OpenBLAS: 128 MiB of headroom suffice while OpenBLAS loads, and 64 MiB
# later.
DATA_HEADROOM_BYTES = 256 * 2**20

# RLIMIT_CPU exceeds the CPU limit by this headroom. The driver kills a call at its CPU limit. If the driver
# is too busy to sample a process, RLIMIT_CPU ends the process. RLIMIT_CPU counts whole seconds of one
# process.
_CPU_HEADROOM_S = 5

# Opcodes at which a `raise` statement raises an exception, or a generator gets an exception from throw().
_RAISE_OPCODES = ("RAISE_VARARGS", "RERAISE", "YIELD_VALUE", "RESUME", "SEND")

# Functions that run the compiler. An import runs the compiler, too. Tracebacks leave out most frames of
# importlib, so the last frame of a failed import is at IMPORT_NAME or in this importlib function.
_COMPILER_NAMES = frozenset({"compile", "eval", "exec"})
_IMPORT_OPCODE, _IMPORT_FUNCTION = "IMPORT_NAME", "_call_with_frames_removed"

# Upper bound of the memory for compiling an ordinary program. The compiler has freed this memory when its
# error is examined.
_COMPILER_ROOM_BYTES = 32 * 2**20

# Getters of `__traceback__` and `errno`. Unlike `error.errno`, they run no code of the error's class.
_TRACEBACK_OF = vars(BaseException)["__traceback__"].__get__
_ERRNO_OF = vars(OSError)["errno"].__get__

CONFINED_OPEN_FILES = 256
"""Limit on the open files of a confined process if `Limits.open_files` is None."""


class LimitFailure(Exception):
    """A limit cannot be applied. The message names the limit and the reason."""


def apply_limits(limits: Limits, *, is_final: bool) -> None:
    """Set the kernel's limits for this process and for the processes that it starts later.

    Args:
        limits: The limits of the call.
        is_final: True to lower the hard limits, too, so that no program can raise them. False to set only the
            soft limits, which a reused worker can restore after the call.

    Raises:
        LimitFailure: A limit cannot be set.
    """
    if limits.soft_deadline_s is not None:
        os.environ[SOFT_DEADLINE_VARIABLE] = repr(time.time() + limits.soft_deadline_s)
    if limits.open_files is not None:
        _set("open_files", resource.RLIMIT_NOFILE, limits.open_files, is_final)
    if limits.file_size_bytes is not None:
        # Set only the soft limit: the engine must lift the soft limit later, to write the result to a file.
        _set("file_size_bytes", resource.RLIMIT_FSIZE, limits.file_size_bytes, is_final=False)
    if limits.cpu_time_s is not None:
        used_s = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        _set("cpu_time_s", resource.RLIMIT_CPU, int(used_s + limits.cpu_time_s) + _CPU_HEADROOM_S, is_final)
    if limits.memory_bytes is not None:
        budget = _data_bytes() + limits.memory_bytes + DATA_HEADROOM_BYTES
        _set("memory_bytes", resource.RLIMIT_DATA, budget, is_final)


def leave_descriptors_to_driver() -> None:
    """Lower the soft and the hard limit on open files of a confined process.

    The kernel counts, per user, the descriptors that are in flight on sockets. If the count exceeds the
    sender's limit on open files, sending fails with ETOOMANYREFS (unix(7)). With a limit as high as the
    driver's, a program could raise the count until the driver cannot send descriptors.

    The kernel also counts epoll watches per user. The lower limit bounds the number of watches that a program
    can use up.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = min(CONFINED_OPEN_FILES, soft // 2)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def forbid_core_dumps() -> None:
    """Disable core dumps. If core_pattern is a pipe, only a limit of 1 byte means "no dump" to the kernel."""
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))


def lift_file_size_limit(limits: Limits) -> None:
    """Lift the file size limit of the call, so that the engine can write the result to a file.

    If the call has no such limit, a limit that the program set itself stays.
    """
    if limits.file_size_bytes is None:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def limit_behind(error: BaseException, limits: Limits) -> LimitHit | None:
    """Return the limit that caused `error`; None if the error has another cause.

    An exception from a `raise` statement is the program's own, whatever its type. The compiler raises
    MemoryError also for code that is nested too deep. So a MemoryError of the compiler counts only if little
    memory is left.
    """
    kind = type(error)  # not isinstance(), which believes the `__class__` of the program's object
    if not issubclass(kind, MemoryError | OSError):
        return None
    raiser = _raiser_of(_TRACEBACK_OF(error))
    if raiser is _Raiser.STATEMENT:
        return None
    number = errno.ENOMEM if issubclass(kind, MemoryError) else _ERRNO_OF(error)
    if number == errno.ENOMEM and (raiser is not _Raiser.COMPILER or _is_data_used_up()):
        return _hit("memory_bytes", limits)
    if number == errno.EMFILE and resource.getrlimit(resource.RLIMIT_NOFILE)[0] == limits.open_files:
        return _hit("open_files", limits)
    if number == errno.EFBIG and resource.getrlimit(resource.RLIMIT_FSIZE)[0] == limits.file_size_bytes:
        return _hit("file_size_bytes", limits)
    return None


def _hit(name: str, limits: Limits) -> LimitHit | None:
    limit = getattr(limits, name)
    return None if limit is None else LimitHit(name, limit)


class _Raiser(enum.Enum):
    """The origin of an exception."""

    STATEMENT = "a statement of Python code"
    COMPILER = "the compiler, or code that called the compiler"
    SYSTEM = "the interpreter or a library"


def _raiser_of(trace: TracebackType | None) -> _Raiser:
    if trace is None:
        return _Raiser.STATEMENT
    while trace.tb_next is not None:
        trace = trace.tb_next
    import dis  # slow to import, and needed only when a call with a limit fails

    code: Any = trace.tb_frame.f_code
    instructions = list(dis.get_instructions(code))
    last = next((each for each in instructions if each.offset == trace.tb_lasti), None)
    if last is None:
        return _Raiser.SYSTEM
    if last.opname in _RAISE_OPCODES:
        return _Raiser.STATEMENT
    if last.opname == _IMPORT_OPCODE or code.co_name == _IMPORT_FUNCTION:
        return _Raiser.COMPILER
    # The instructions that load the called function start at the same source position as the call.
    called = {each.argval for each in instructions if _start_of(each) == _start_of(last)}
    return _Raiser.SYSTEM if _COMPILER_NAMES.isdisjoint(called) else _Raiser.COMPILER


def _start_of(instruction: Any) -> tuple[int | None, int | None]:
    return instruction.positions.lineno, instruction.positions.col_offset


def _is_data_used_up() -> bool:
    limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
    try:
        return limit != resource.RLIM_INFINITY and _data_bytes() + _COMPILER_ROOM_BYTES > limit
    except LimitFailure:
        return False


def _set(name: str, kind: int, value: int, is_final: bool) -> None:
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY and value > hard:
        value = hard  # the machine's hard limit is lower than the call's limit
    try:
        resource.setrlimit(kind, (value, value if is_final else hard))
    except (OSError, ValueError, OverflowError) as error:
        raise LimitFailure(f"the limit {name} = {value} cannot be applied: {error}") from error


def _data_bytes() -> int:
    """Return this process's private writable memory in bytes, as RLIMIT_DATA counts it: VmData of proc(5)."""
    try:
        with open("/proc/self/status", "rb") as file:
            text = file.read(4096)
        return int(text.partition(b"VmData:")[2].split(None, 1)[0]) * 1024
    except (OSError, IndexError, ValueError) as error:
        raise LimitFailure(
            f"the limit memory_bytes cannot be applied: /proc/self/status has no readable VmData: {error}"
        ) from error
