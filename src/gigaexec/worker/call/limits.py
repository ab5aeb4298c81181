"""The limits that the kernel enforces in the process that runs a call.

The driver enforces limits on all processes of a call together (memory, CPU time, number): it samples the
processes in `pool.supervision.limit_watch`.
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

# Numerical libraries exit, hang or crash when an allocation fails, so the kernel's limit is above the limit
# that the driver enforces. Measured with OpenBLAS: 64 MiB of headroom suffice once it is loaded, and 128 MiB
# while it loads.
DATA_HEADROOM_BYTES = 256 * 2**20

# The driver kills a call at its CPU limit. RLIMIT_CPU, which counts whole seconds of one process, ends a
# process that the driver is too busy to sample.
_CPU_HEADROOM_S = 5

# Opcodes of a statement that raises an exception, or that throws one into a generator.
_RAISE_OPCODES = ("RAISE_VARARGS", "RERAISE", "YIELD_VALUE", "RESUME", "SEND")

# Calls that run the compiler. importlib's function is named too: tracebacks leave out most of its frames.
_COMPILER_NAMES = frozenset({"compile", "eval", "exec"})
_IMPORT_OPCODE, _IMPORT_FUNCTION = "IMPORT_NAME", "_call_with_frames_removed"

# Upper bound of the memory for compiling an ordinary program. It is free again when the error is examined.
_COMPILER_ROOM_BYTES = 32 * 2**20

# Unlike `error.errno`, these run no code of the error's class.
_TRACEBACK_OF = vars(BaseException)["__traceback__"].__get__
_ERRNO_OF = vars(OSError)["errno"].__get__

CONFINED_OPEN_FILES = 256
"""Open files of a confined process if `Limits.open_files` is None."""


class LimitFailure(Exception):
    """A limit cannot be applied; the message says which and why."""


def apply_limits(limits: Limits, *, is_final: bool) -> None:
    """Set the kernel's limits for this process and the processes that it starts.

    Args:
        limits: The limits of the call.
        is_final: Lower the hard limits as well, so that no program can raise them. Otherwise only the soft
            limits are set, which a reused worker restores after the call.

    Raises:
        LimitFailure: A limit cannot be set.
    """
    if limits.soft_deadline_s is not None:
        os.environ[SOFT_DEADLINE_VARIABLE] = repr(time.time() + limits.soft_deadline_s)
    if limits.open_files is not None:
        _set("open_files", resource.RLIMIT_NOFILE, limits.open_files, is_final)
    if limits.file_size_bytes is not None:
        # The soft limit only: the engine must be able to lift it to write the result to a file.
        _set("file_size_bytes", resource.RLIMIT_FSIZE, limits.file_size_bytes, is_final=False)
    if limits.cpu_time_s is not None:
        used_s = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        _set("cpu_time_s", resource.RLIMIT_CPU, int(used_s + limits.cpu_time_s) + _CPU_HEADROOM_S, is_final)
    if limits.memory_bytes is not None:
        budget = _data_bytes() + limits.memory_bytes + DATA_HEADROOM_BYTES
        _set("memory_bytes", resource.RLIMIT_DATA, budget, is_final)


def leave_descriptors_to_driver() -> None:
    """Lower the soft and the hard limit on open files of a confined process.

    The kernel counts descriptors in flight on sockets per user, and refuses a sender when the count reaches
    the sender's own limit (unix(7), ETOOMANYREFS). A program with the driver's limit could raise the count so
    far that the driver cannot send. The limit also bounds how many epoll watches, which are counted per user,
    a program can take.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = min(CONFINED_OPEN_FILES, soft // 2)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def forbid_core_dumps() -> None:
    """Disable core dumps. With a pipe in core_pattern, the kernel takes a limit of 1 byte as "no dump"."""
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))


def lift_file_size_limit(limits: Limits) -> None:
    """Lift the limit so that the engine can write the result. A limit that the program set itself stays."""
    if limits.file_size_bytes is None:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def limit_behind(error: BaseException, limits: Limits) -> LimitHit | None:
    """Return the limit whose refusal raised `error`; None if the error has another cause.

    An exception from a `raise` statement is the program's own, whatever its type. The compiler raises
    MemoryError for code that is nested too deep; its errors count only if little memory is left.
    """
    kind = type(error)  # no isinstance: a class of the program may lie about itself
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
    COMPILER = "the compiler, or what called it"
    SYSTEM = "the interpreter or a library"


def _raiser_of(trace: TracebackType | None) -> _Raiser:
    if trace is None:
        return _Raiser.STATEMENT
    while trace.tb_next is not None:
        trace = trace.tb_next
    import dis  # slow to import, and only needed when a call under a limit fails

    code: Any = trace.tb_frame.f_code
    instructions = list(dis.get_instructions(code))
    last = next((each for each in instructions if each.offset == trace.tb_lasti), None)
    if last is None:
        return _Raiser.SYSTEM
    if last.opname in _RAISE_OPCODES:
        return _Raiser.STATEMENT
    if last.opname == _IMPORT_OPCODE or code.co_name == _IMPORT_FUNCTION:
        return _Raiser.COMPILER
    # The instructions that load a called expression have the position at which the call begins.
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
        value = hard  # the machine's own limit is lower than the call's
    try:
        resource.setrlimit(kind, (value, value if is_final else hard))
    except (OSError, ValueError, OverflowError) as error:
        raise LimitFailure(f"{name} = {value} cannot be applied: {error}") from error


def _data_bytes() -> int:
    """Return this process's private writable memory as RLIMIT_DATA counts it: VmData of proc(5)."""
    try:
        with open("/proc/self/status", "rb") as file:
            text = file.read(4096)
        return int(text.partition(b"VmData:")[2].split(None, 1)[0]) * 1024
    except (OSError, IndexError, ValueError) as error:
        raise LimitFailure(f"memory_bytes cannot be applied: VmData cannot be read ({error})") from error
