"""System calls: their errors, arguments and numbers."""

from __future__ import annotations

import errno
import os

import pytest

from gigaexec.sandbox.system_calls import library_call, number_of, prctl, system_call


def test_a_failure_names_the_call() -> None:
    with pytest.raises(OSError, match="landlock_restrict_self") as caught:
        system_call("landlock_restrict_self", -1, 0)
    assert caught.value.errno


def test_a_negative_argument_arrives_as_such() -> None:
    # AT_FDCWD (-100) with an attribute structure of size 0 gives EINVAL.
    with pytest.raises(OSError) as caught:
        system_call("mount_setattr", -100, b"/", 0, b"", 0)
    assert caught.value.errno == errno.EINVAL


def test_prctl_fails_with_its_errno() -> None:
    with pytest.raises(OSError, match="prctl") as caught:
        prctl(9999)
    assert caught.value.errno == errno.EINVAL


def test_a_function_that_the_library_lacks_is_not_there() -> None:
    with pytest.raises(OSError) as caught:
        library_call("no_such_function")
    assert caught.value.errno == errno.ENOSYS


def test_another_architecture_has_no_numbers() -> None:
    with pytest.raises(OSError, match="riscv64") as caught:
        number_of("seccomp", "riscv64")
    assert caught.value.errno == errno.ENOSYS


def test_a_call_of_one_architecture_only() -> None:
    assert number_of("iopl", "x86_64") == 172
    assert number_of("iopl", "aarch64") is None


def test_numbers_are_those_of_this_kernel() -> None:
    # kcmp compares the address space of this process with itself; only kcmp returns 0 for these arguments.
    assert system_call("kcmp", os.getpid(), os.getpid(), 1) == 0
