"""The list of refusals as a program for the kernel, and its installation.

The program is a search tree over ranges of call numbers: the kernel runs it once for every number when it is
installed (to skip it later for those that are always allowed), so its depth is what installing costs.

    load architecture    not this one: kill the process (32-bit calls have other numbers)
    load call number
    tree over ranges     allow | fail with errno | look at arguments, then one of both
                         the last range: numbers of x32, and of calls newer than the table: ENOSYS
"""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Iterable
from itertools import groupby

from gigaexec.sandbox.denied_calls import AnyBit, Condition, DeniedCall, NoneOf, NotNull, OneOf
from gigaexec.sandbox.system_calls import (
    NEWEST_KNOWN_NUMBER,
    number_of,
    set_no_new_privileges,
    system_call,
    this_machine,
)

# linux/audit.h: ELF machine, 64 bits, little endian.
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# linux/bpf_common.h: load a word at a fixed place, compare with a constant, return a constant, mask.
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _RETURN, _AND = 0x20, 0x15, 0x35, 0x45, 0x06, 0x54
_LONGEST_JUMP = 255
# linux/seccomp.h: struct seccomp_data has the number at 0, the architecture at 4, six arguments from 16.
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET, _ARGUMENTS_OFFSET = 0, 4, 16
_ALLOW, _FAIL, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
_SET_MODE_FILTER, _FLAG_TSYNC = 1, 1

_Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant
_Code = list[_Instruction]
# Stands for a jump to the end of the refusal in hand, until its length is known.
_NOT_REFUSED = -1


class Filter:
    """A seccomp program in memory, ready to be installed. Build it in the parent, install it in each child.

    Args:
        program: From `build_program`.
    """

    def __init__(self, program: bytes) -> None:
        self._program = ctypes.create_string_buffer(program, len(program))
        # struct sock_fprog: the number of instructions, and where they are. Fork keeps addresses.
        instructions = len(program) // 8
        self._argument = struct.pack("@HP", instructions, ctypes.addressof(self._program))

    def install(self) -> None:
        """Confine all threads of this process, and all that they start and execute, for good.

        Raises:
            OSError: Nothing is confined. ESRCH if a thread runs under another filter already.
        """
        set_no_new_privileges()
        thread = system_call("seccomp", _SET_MODE_FILTER, _FLAG_TSYNC, self._argument)
        if thread:
            raise OSError(errno.ESRCH, f"thread {thread} has a filter of its own", "seccomp")


def build_program(refusals: Iterable[DeniedCall], machine: str | None = None) -> bytes:
    """Instructions of a filter that fails the refused calls and kills a process that calls as 32-bit code.

    Args:
        refusals: From `refusals.refusals`. Calls that the architecture does not have are left out.
        machine: "x86_64" or "aarch64"; None is this machine.

    Raises:
        OSError: ENOSYS on another architecture.
    """
    machine = machine or this_machine()
    by_number: dict[int, list[DeniedCall]] = {}
    for refusal in refusals:
        number = number_of(refusal.call, machine)
        if number is not None:
            by_number.setdefault(number, []).append(refusal)
    verdicts = [_verdict(by_number.get(number, [])) for number in range(NEWEST_KNOWN_NUMBER + 1)]
    verdicts.append([(_RETURN, 0, 0, _FAIL | errno.ENOSYS)])
    code: _Code = [
        (_LOAD, 0, 0, _ARCHITECTURE_OFFSET),
        (_JUMP_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER_OFFSET),
        *_tree(_ranges(verdicts)),
    ]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def _ranges(verdicts: list[_Code]) -> list[tuple[int, _Code]]:
    """The first number of each run of equal verdicts, and that verdict."""
    runs = groupby(enumerate(verdicts), key=lambda numbered: numbered[1])
    return [(next(run)[0], verdict) for verdict, run in runs]


def _tree(ranges: list[tuple[int, _Code]]) -> _Code:
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    below, above = _tree(ranges[:middle]), _tree(ranges[middle:])
    if len(below) > _LONGEST_JUMP:
        raise ValueError(f"a jump over {len(below)} instructions; the most is {_LONGEST_JUMP}")
    return [(_JUMP_AT_LEAST, len(below), 0, ranges[middle][0]), *below, *above]


def _verdict(refusals: list[DeniedCall]) -> _Code:
    """What to do with a call of one number: its refusals one after the other, else allow it."""
    code: _Code = []
    for refusal in refusals:
        body = [instruction for condition in refusal.when for instruction in _test(condition)]
        body.append((_RETURN, 0, 0, _FAIL | refusal.errno))
        for place, (operation, if_true, if_false, constant) in enumerate(body):
            to_end = len(body) - place - 1
            code.append(
                (
                    operation,
                    to_end if if_true == _NOT_REFUSED else if_true,
                    to_end if if_false == _NOT_REFUSED else if_false,
                    constant,
                )
            )
        if not refusal.when:
            return code  # nothing gets past it
    return [*code, (_RETURN, 0, 0, _ALLOW)]


def _test(condition: Condition) -> _Code:
    """Go on behind these instructions if the condition holds."""
    low = _ARGUMENTS_OFFSET + 8 * condition.argument
    load = (_LOAD, 0, 0, low)
    match condition:
        case NoneOf(_, values, mask):
            equal = [(_JUMP_EQUAL, _NOT_REFUSED, 0, value) for value in values]
            return [load, (_AND, 0, 0, mask), *equal]
        case OneOf(_, values):
            # Each match jumps over the others that follow; the last one decides.
            last = len(values) - 1
            equal = [(_JUMP_EQUAL, last - i, 0, value) for i, value in enumerate(values[:-1])]
            return [load, *equal, (_JUMP_EQUAL, 0, _NOT_REFUSED, values[-1])]
        case AnyBit(_, bits):
            return [load, (_JUMP_ANY_BIT, 0, _NOT_REFUSED, bits)]
        case NotNull():
            return [
                load,
                (_JUMP_EQUAL, 0, 2, 0),
                (_LOAD, 0, 0, low + 4),
                (_JUMP_EQUAL, _NOT_REFUSED, 0, 0),
            ]
