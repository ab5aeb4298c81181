"""Compiles the denied system calls to a seccomp filter, and installs the filter.

The filter is a search tree over ranges of call numbers. At installation the kernel runs the filter once for
every call number. Later the kernel skips the filter for calls that are always allowed. So the depth of the
tree determines the cost of installing.

    load architecture    if not the expected one: kill the process (32-bit calls have other numbers)
    load call number
    tree over ranges     allow | fail with errno | test arguments, then allow or fail
                         last range (x32 calls, and calls newer than the table): fail with ENOSYS
"""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Iterable
from itertools import groupby

from gigaexec.sandbox.call_numbers import NEWEST_KNOWN_NUMBER
from gigaexec.sandbox.denied_calls import AnyBit, Condition, DeniedCall, NoneOf, NotNull, OneOf
from gigaexec.sandbox.system_calls import (
    number_of,
    set_no_new_privileges,
    system_call,
    this_machine,
)

# linux/audit.h: the ELF machine number, with the flags for 64 bits and little endian.
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# linux/bpf_common.h: load a word at a fixed offset, compare with a constant, return a constant, mask.
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _RETURN, _AND = 0x20, 0x15, 0x35, 0x45, 0x06, 0x54
_LONGEST_JUMP = 255
# linux/seccomp.h: byte offsets in struct seccomp_data of the call number, the architecture and six arguments.
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET, _ARGUMENTS_OFFSET = 0, 4, 16
_ALLOW, _FAIL, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
_SET_MODE_FILTER, _FLAG_TSYNC = 1, 1

_Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant
_Code = list[_Instruction]
# Placeholder for a jump to the end of the current rule, until the rule's length is known.
_NOT_DENIED = -1


class SeccompFilter:
    """A seccomp filter that is built in the parent and installed in each child.

    Args:
        program: The filter's BPF instructions, from `build_program`.
    """

    def __init__(self, program: bytes) -> None:
        self._program = ctypes.create_string_buffer(program, len(program))
        # struct sock_fprog: number and address of the instructions. The address is also valid in forked
        # children.
        instructions = len(program) // 8
        self._argument = struct.pack("@HP", instructions, ctypes.addressof(self._program))

    def install(self) -> None:
        """Install the filter in all threads of this process, irrevocably.

        Threads and processes that are started later, and programs that are executed, inherit the filter.

        Raises:
            OSError: The filter was installed in no thread. ESRCH if a thread has a different filter already.
        """
        set_no_new_privileges()
        thread = system_call("seccomp", _SET_MODE_FILTER, _FLAG_TSYNC, self._argument)
        if thread:
            raise OSError(errno.ESRCH, f"thread {thread} has a different filter already", "seccomp")


def build_program(denied: Iterable[DeniedCall], machine: str | None = None) -> bytes:
    """Return a filter that makes the denied calls fail, and kills a process that makes 32-bit calls.

    Args:
        denied: The rules, from `denied_calls.denied_calls`. Calls that the architecture lacks are left out.
        machine: "x86_64" or "aarch64"; None for this machine.

    Raises:
        OSError: ENOSYS on another architecture.
    """
    machine = machine or this_machine()
    by_number: dict[int, list[DeniedCall]] = {}
    for each in denied:
        number = number_of(each.call, machine)
        if number is not None:
            by_number.setdefault(number, []).append(each)
    actions = [_action(by_number.get(number, [])) for number in range(NEWEST_KNOWN_NUMBER + 1)]
    actions.append([(_RETURN, 0, 0, _FAIL | errno.ENOSYS)])
    code: _Code = [
        (_LOAD, 0, 0, _ARCHITECTURE_OFFSET),
        (_JUMP_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER_OFFSET),
        *_tree(_ranges(actions)),
    ]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def _ranges(actions: list[_Code]) -> list[tuple[int, _Code]]:
    """Group consecutive call numbers with equal actions. Return each group's first number and action."""
    runs = groupby(enumerate(actions), key=lambda numbered: numbered[1])
    return [(next(run)[0], action) for action, run in runs]


def _tree(ranges: list[tuple[int, _Code]]) -> _Code:
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    below, above = _tree(ranges[:middle]), _tree(ranges[middle:])
    if len(below) > _LONGEST_JUMP:
        raise ValueError(f"the filter needs a jump over {len(below)} instructions, limit {_LONGEST_JUMP}")
    return [(_JUMP_AT_LEAST, len(below), 0, ranges[middle][0]), *below, *above]


def _action(denied: list[DeniedCall]) -> _Code:
    """Return instructions that test the rules for one system call in order; if none applies, allow it."""
    code: _Code = []
    for each in denied:
        body = [instruction for condition in each.when for instruction in _test(condition)]
        body.append((_RETURN, 0, 0, _FAIL | each.errno))
        for index, (operation, if_true, if_false, constant) in enumerate(body):
            to_end = len(body) - index - 1
            code.append(
                (
                    operation,
                    to_end if if_true == _NOT_DENIED else if_true,
                    to_end if if_false == _NOT_DENIED else if_false,
                    constant,
                )
            )
        if not each.when:
            return code  # the rule is unconditional, so no later rule is reached
    return [*code, (_RETURN, 0, 0, _ALLOW)]


def _test(condition: Condition) -> _Code:
    """Return instructions that fall through if the condition is true, and otherwise jump past the rule."""
    low = _ARGUMENTS_OFFSET + 8 * condition.argument
    load = (_LOAD, 0, 0, low)
    match condition:
        case NoneOf(_, values, mask):
            equal = [(_JUMP_EQUAL, _NOT_DENIED, 0, value) for value in values]
            return [load, (_AND, 0, 0, mask), *equal]
        case OneOf(_, values):
            # A match jumps over the remaining comparisons. If the last comparison also fails, jump past the
            # rule.
            last = len(values) - 1
            equal = [(_JUMP_EQUAL, last - i, 0, value) for i, value in enumerate(values[:-1])]
            return [load, *equal, (_JUMP_EQUAL, 0, _NOT_DENIED, values[-1])]
        case AnyBit(_, bits):
            return [load, (_JUMP_ANY_BIT, 0, _NOT_DENIED, bits)]
        case NotNull():
            return [
                load,
                (_JUMP_EQUAL, 0, 2, 0),
                (_LOAD, 0, 0, low + 4),
                (_JUMP_EQUAL, _NOT_DENIED, 0, 0),
            ]
