"""Resource limits of the process that runs a call.

What the kernel enforces is set here; what must be measured (memory and CPU time of all processes of a call
together, their number) the driver watches.
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

# Numerical libraries exit, hang or crash where an allocation of theirs fails, so the kernel's limit lies
# above the one that the watch enforces. Measured with OpenBLAS: 64 MiB of room are enough once it is loaded,
# 128 MiB while it is.
DATA_HEADROOM_BYTES = 256 * 2**20

# A program that uses more CPU time than it may is ended by the driver; RLIMIT_CPU, which counts whole seconds
# of one process, ends it where the driver is too busy.
_CPU_HEADROOM_S = 5

# Where the program itself raised it, or threw it into a generator.
_RAISE_OPCODES = ("RAISE_VARARGS", "RERAISE", "YIELD_VALUE", "RESUME", "SEND")

# What runs the compiler. The last one is importlib's, whose frames are mostly cut out of tracebacks.
_COMPILER_NAMES = frozenset({"compile", "eval", "exec"})
_IMPORT_OPCODE, _IMPORT_FUNCTION = "IMPORT_NAME", "_call_with_frames_removed"

# What compiling an ordinary program takes at most, and has given back when its error is looked at.
_COMPILER_ROOM_BYTES = 32 * 2**20

# Unlike `error.errno` these run no code of the error's class.
_TRACEBACK_OF = vars(BaseException)["__traceback__"].__get__
_ERRNO_OF = vars(OSError)["errno"].__get__


CONFINED_OPEN_FILES = 256
"""What a confined process may open where `Limits.open_files` says nothing."""


class LimitFailure(Exception):
    """A limit cannot be applied; the message says which and why."""


def apply_limits(limits: Limits, *, for_good: bool) -> None:
    """Set what the kernel enforces, for this process and those it starts.

    Args:
        limits: What to set.
        for_good: Lower the hard limits as well, so that no program can raise them. Otherwise only the soft
            ones, which `CallScope` gives back.

    Raises:
        LimitFailure: One cannot be set.
    """
    if limits.soft_deadline_s is not None:
        os.environ[SOFT_DEADLINE_VARIABLE] = repr(time.time() + limits.soft_deadline_s)
    if limits.open_files is not None:
        _set("open_files", resource.RLIMIT_NOFILE, limits.open_files, for_good)
    if limits.file_size_bytes is not None:
        # Not for good: the result goes to a file, too, and has a limit of its own.
        _set("file_size_bytes", resource.RLIMIT_FSIZE, limits.file_size_bytes, for_good=False)
    if limits.cpu_time_s is not None:
        used_s = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        _set("cpu_time_s", resource.RLIMIT_CPU, int(used_s + limits.cpu_time_s) + _CPU_HEADROOM_S, for_good)
    if limits.memory_bytes is not None:
        budget = _data_bytes() + limits.memory_bytes + DATA_HEADROOM_BYTES
        _set("memory_bytes", resource.RLIMIT_DATA, budget, for_good)


def leave_descriptors_to_driver() -> None:
    """Let a confined program open few files, for good.

    Descriptors that are under way on sockets count for the user, and each sender's own limit is what stops
    it (unix(7), ETOOMANYREFS). A program that could send as many as the driver could keep it from sending.
    What a user may watch with epoll is bounded by it as well.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = min(CONFINED_OPEN_FILES, soft // 2)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def forbid_core_dumps() -> None:
    """Leave no core dump, for good. Where a program receives them the kernel takes 1 byte as "none"."""
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))


def lift_file_size_limit(limits: Limits) -> None:
    """Let the engine write the result. A limit that the program set itself stays."""
    if limits.file_size_bytes is None:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def limit_behind(error: BaseException, limits: Limits) -> LimitHit | None:
    """Say which limit made the system refuse what raised `error`; None where it was none.

    An exception that a `raise` statement raised is the program's own, whatever its type. The compiler raises
    MemoryError for what is nested too deep; its errors count where little memory is left.
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
    """What raised an exception."""

    STATEMENT = "a statement of Python code"
    COMPILER = "the compiler, or what called it"
    SYSTEM = "the interpreter or a library"


def _raiser_of(trace: TracebackType | None) -> _Raiser:
    if trace is None:
        return _Raiser.STATEMENT
    while trace.tb_next is not None:
        trace = trace.tb_next
    import dis  # only for a failed call under a limit

    code: Any = trace.tb_frame.f_code
    instructions = list(dis.get_instructions(code))
    last = next((each for each in instructions if each.offset == trace.tb_lasti), None)
    if last is None:
        return _Raiser.SYSTEM
    if last.opname in _RAISE_OPCODES:
        return _Raiser.STATEMENT
    if last.opname == _IMPORT_OPCODE or code.co_name == _IMPORT_FUNCTION:
        return _Raiser.COMPILER
    # An expression that is called begins where its call begins.
    called = {each.argval for each in instructions if _start_of(each) == _start_of(last)}
    return _Raiser.SYSTEM if _COMPILER_NAMES.isdisjoint(called) else _Raiser.COMPILER


def _start_of(instruction: Any) -> tuple[int | None, int | None]:
    return instruction.positions.lineno, instruction.positions.col_offset


def _is_data_used_up() -> bool:
    limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
    try:
        return limit != resource.RLIM_INFINITY and _data_bytes() + _COMPILER_ROOM_BYTES > limit
    except LimitFailure:
        return False  # not known


def _set(name: str, kind: int, value: int, for_good: bool) -> None:
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY and value > hard:
        value = hard  # this machine's owner allows less than the call's limit
    try:
        resource.setrlimit(kind, (value, value if for_good else hard))
    except (OSError, ValueError, OverflowError) as error:
        raise LimitFailure(f"{name} = {value} cannot be applied: {error}") from error


def _data_bytes() -> int:
    """Size of this process's private writable memory, which RLIMIT_DATA counts (VmData of proc(5))."""
    try:
        with open("/proc/self/status", "rb") as file:
            text = file.read(4096)
        return int(text.partition(b"VmData:")[2].split(None, 1)[0]) * 1024
    except (OSError, IndexError, ValueError) as error:
        raise LimitFailure(f"memory_bytes cannot be applied: VmData cannot be read ({error})") from error
