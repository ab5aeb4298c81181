"""Limits of a call: exceeding one ends the call with the limit's status and affects no other call."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gigaexec import (
    ConfigurationError,
    ExecRunnerError,
    Limits,
    Outcome,
    OutcomeStatus,
    SandboxPolicy,
    WorkerCall,
)
from gigaexec.errors import (
    CpuTimeExceededError,
    FileSizeExceededError,
    LimitExceededError,
    MemoryExceededError,
    OpenFilesExceededError,
    OutputExceededError,
    ProcessesExceededError,
    ResultExceededError,
    ScratchExceededError,
)
from gigaexec.limits import LIMIT_SPECS
from gigaexec.quantities import bytes_text
from tests.contract.bystander import bystander
from tests.contract.conftest import Kind, MakeBackend
from tests.contract.recorded_pids import NOTE_PROCESS, RecordedPids

_MB = 2**20

# `hold` makes memory resident; `fork` runs a function in a child process.
_HEAD = (
    NOTE_PROCESS
    + """
import ctypes, mmap, os, sys, time
held = []
def hold(megabytes):
    held.append(bytearray(b"x") * (megabytes << 20))
def fork(function):
    if os.fork() == 0:
        note_process(PIDS)
        function()
        os._exit(0)
def sleep():
    time.sleep(600)
def spin():
    while True: pass
def f(pids, folder):
    global PIDS
    PIDS = pids
    note_process(pids)
    print("before", flush=True)
    return go(folder)
"""
)


@dataclass(frozen=True)
class Excess:
    """A program that exceeds a limit.

    Args:
        name: The test's id.
        limits: The limits of the call; one field is set.
        code: Source with a function `go(folder)`.
        status: The expected status.
        error: The expected exact class of the error.
        says: A regular expression for the error message.
        is_measured: True if the excess is measured, False if the system refuses it.
        worker_may_live: True if the worker may survive and run another call.
    """

    name: str
    limits: Limits
    code: str
    status: OutcomeStatus
    error: type[LimitExceededError]
    says: str
    is_measured: bool = True
    worker_may_live: bool = False


def _memory(name: str, code: str, *, is_measured: bool = True) -> Excess:
    limits = Limits(memory_bytes=200 * _MB)
    may_live = not is_measured
    status = OutcomeStatus.MEMORY_EXCEEDED
    says = (
        r"used (more than 200|\d{3}) MiB of memory, limit 200 MiB"
        if is_measured
        else "was refused more than 200 MiB of memory: "
    )
    return Excess(name, limits, code, status, MemoryExceededError, says, is_measured, may_live)


def _cpu_time(name: str, code: str) -> Excess:
    status = OutcomeStatus.CPU_TIME_EXCEEDED
    says = r"used ([\d.]+|more than 0\.4) s of CPU time, limit 0\.4 s"
    return Excess(name, Limits(cpu_time_s=0.4), code, status, CpuTimeExceededError, says)


_EXCESSES = (
    _memory("memory", "def go(_): hold(300); sleep()"),
    _memory("memory of a child", "def go(_): fork(lambda: (hold(300), sleep())); sleep()"),
    _memory(
        "memory of several children",
        "def go(_):\n    for _ in range(3): fork(lambda: (hold(100), sleep()))\n    sleep()",
    ),
    _memory(
        "memory in a memfd",
        "def go(_):\n    file = os.memfd_create('hoard')\n"
        "    for _ in range(300): os.write(file, b'x' * (1 << 20))\n    sleep()",
    ),
    _memory(
        "memory in a shared map",
        "def go(_):\n    shared = mmap.mmap(-1, 300 << 20)\n    shared[:] = b'x' * len(shared)\n    sleep()",
    ),
    _memory("an array far too large", "import numpy\ndef go(_): numpy.ones(2**33)", is_measured=False),
    _memory("bytes far too large", "def go(_): bytes(2**36)", is_measured=False),
    _cpu_time("CPU time", "def go(_): spin()"),
    _cpu_time("CPU time of a child", "def go(_): fork(spin); sleep()"),
    _cpu_time(
        "CPU time of children one after another",
        "def go(_):\n    while True:\n        fork(lambda: [None for _ in range(300_000)]); os.wait()",
    ),
    Excess(
        "processes",
        Limits(processes=3),
        "def go(_):\n    for _ in range(5): fork(sleep)\n    sleep()",
        OutcomeStatus.PROCESSES_EXCEEDED,
        ProcessesExceededError,
        r"had \d processes, limit 3",
    ),
    Excess(
        "open files",
        Limits(open_files=40),
        "def go(_):\n    for _ in range(50): held.append(open('/dev/null'))",
        OutcomeStatus.OPEN_FILES_EXCEEDED,
        OpenFilesExceededError,
        r"was refused more than 40 open files: OSError: \[Errno 24\] Too many open files: '/dev/null'",
        is_measured=False,
        worker_may_live=True,
    ),
    Excess(
        "file size",
        Limits(file_size_bytes=100_000),
        "def go(folder):\n    with open(folder + '/large', 'wb', 0) as file:\n"
        "        while True: file.write(b'x' * 40_000)",
        OutcomeStatus.FILE_SIZE_EXCEEDED,
        FileSizeExceededError,
        r"was refused more than 98 KiB in one file: OSError: \[Errno 27\] File too large",
        is_measured=False,
        worker_may_live=True,
    ),
    Excess(
        "output",
        Limits(output_bytes=100_000),
        "def go(_):\n    while True: os.write(2, b'x' * 1000)",
        OutcomeStatus.OUTPUT_EXCEEDED,
        OutputExceededError,
        "wrote (more than 98|[0-9]+) KiB of output, limit 98 KiB",
    ),
    Excess(
        "result",
        Limits(result_bytes=100_000),
        "def go(_): return bytes(100_000)",
        OutcomeStatus.RESULT_EXCEEDED,
        ResultExceededError,
        "returned more than 98 KiB of data, limit 98 KiB",
        worker_may_live=True,
    ),
)


def test_every_limit_is_exceeded_here() -> None:
    limits = [excess.limits for excess in _EXCESSES]
    tested = {name for each in limits for name in LIMIT_SPECS if getattr(each, name) is not None}
    # Only a sandbox has a scratch folder: the last test of this module exceeds scratch_bytes.
    assert tested == LIMIT_SPECS.keys() - {"scratch_bytes"}


@pytest.mark.parametrize("excess", _EXCESSES, ids=lambda excess: excess.name)
def test_a_call_beyond_its_limit_ends_with_a_status_of_its_own_and_harms_nobody(
    excess: Excess, backend: Any, pids: RecordedPids, tmp_path: Path
) -> None:
    journal, release = tmp_path / "journal", tmp_path / "release"
    greedy = WorkerCall(_HEAD + excess.code, "f", [pids.path, str(tmp_path)])

    async def scenario() -> tuple[Outcome, Any]:
        beside = asyncio.create_task(
            backend.run(bystander(str(journal), "beside", release=str(release)), deadline_s=60)
        )
        outcome = await backend.run(greedy, deadline_s=30, limits=excess.limits)
        assert len(pids.running()) <= excess.worker_may_live
        assert (await backend.execute(WorkerCall("def f(): return 1", "f"), deadline_s=30)) == 1
        release.touch()
        return outcome, (await beside).value

    outcome, beside = asyncio.run(scenario())
    assert outcome.status is excess.status, outcome
    assert type(outcome.error) is excess.error
    ((name, limit),) = [
        (name, limit)
        for name in Limits.__dataclass_fields__
        if (limit := getattr(excess.limits, name)) is not None
    ]
    hit = outcome.error.hit
    assert hit is not None
    assert (hit.name, hit.limit) == (name, limit)
    assert re.match(excess.says, outcome.error.summary), outcome.error.summary
    if excess.is_measured:
        assert hit.measured is not None
        assert limit < hit.measured < 5 * limit
    else:
        assert hit.measured is None
    assert outcome.output.stdout == "before\n"
    assert "before" in outcome.error.stderr
    assert outcome.run_time_s < 20
    assert beside == "beside"


@pytest.mark.parametrize(
    "raises", ["raise MemoryError", "raise OSError(24, 'mine')", "raise OSError(27, 'mine')", "helper()"]
)
def test_what_a_program_raises_itself_is_its_error_though_it_looks_like_a_limit(
    backend: Any, raises: str
) -> None:
    code = f"def helper(): raise MemoryError('mine')\ndef f(): {raises}"
    limits = Limits(memory_bytes=200 * _MB, open_files=100, file_size_bytes=1000)
    outcome = asyncio.run(backend.run(WorkerCall(code, "f"), deadline_s=30, limits=limits))
    assert outcome.status is OutcomeStatus.ERROR
    assert type(outcome.error) is ExecRunnerError


_NESTED = "'-' * 20_000 + '1'"


@pytest.mark.parametrize(
    "code",
    [
        f"def f(_): return eval({_NESTED})",
        f"def f(_): return compile({_NESTED}, '', 'exec')",
        f"import builtins\ndef f(_): builtins.exec(\n    {_NESTED}\n)",
        f"import ast\ndef f(_): return ast.literal_eval({_NESTED})",
        f"def f(folder):\n    open(folder + '/nested.py', 'w').write({_NESTED})\n    import nested",
        "def f(_): return " + "-" * 20_000 + "1",
    ],
    ids=["eval", "compile", "exec", "literal", "import", "program"],
)
def test_what_the_compiler_finds_nested_too_deep_is_an_error_however_much_memory_there_is(
    backend: Any, code: str, tmp_path: Path
) -> None:
    call = WorkerCall(code, "f", [str(tmp_path)], python_path=[str(tmp_path)])
    outcome = asyncio.run(backend.run(call, deadline_s=30, limits=Limits(memory_bytes=800 * _MB)))
    assert outcome.status is OutcomeStatus.ERROR
    assert "MemoryError" in str(outcome.error)


def test_the_compiler_runs_out_of_memory_like_everything_else(backend: Any) -> None:
    code = """
import mmap, resource
def f():
    data_kib = int(open("/proc/self/status").read().partition("VmData:")[2].split()[0])
    left = resource.getrlimit(resource.RLIMIT_DATA)[0] - data_kib * 1024
    held = mmap.mmap(-1, left - (8 << 20), mmap.MAP_PRIVATE)
    compile("x = [" + "[1]," * 300_000 + "]", "", "exec")
"""
    outcome = asyncio.run(
        backend.run(WorkerCall(code, "f"), deadline_s=30, limits=Limits(memory_bytes=200 * _MB))
    )
    assert outcome.status is OutcomeStatus.MEMORY_EXCEEDED, outcome.error


def test_a_class_that_lies_about_its_number_is_an_error_like_any_other(backend: Any) -> None:
    code = """
class Liar(OSError):
    errno = __class__ = __traceback__ = property(lambda self: 1 / 0)
def f(): raise Liar
"""
    outcome = asyncio.run(backend.run(WorkerCall(code, "f"), deadline_s=30, limits=Limits(open_files=100)))
    assert outcome.status is OutcomeStatus.ERROR


def test_a_call_within_its_limits_is_not_touched(backend: Any, tmp_path: Path) -> None:
    code = """
import os, subprocess
def f(folder):
    held = bytearray(b"x") * (50 << 20)
    with open(folder + "/file", "wb") as file: file.write(bytes(90_000))
    files = [open("/dev/null") for _ in range(10)]
    print("x" * 9_000)
    return subprocess.run(["echo", "y"], capture_output=True).stdout, bytes(90_000)
"""
    limits = Limits(
        memory_bytes=200 * _MB,
        cpu_time_s=10,
        processes=3,
        open_files=60,
        file_size_bytes=100_000,
        output_bytes=10_000,
        result_bytes=100_000,
    )
    call = WorkerCall(code, "f", [str(tmp_path)])
    outcome = asyncio.run(backend.run(call, deadline_s=30, limits=limits))
    assert outcome.value == (b"y\n", bytes(90_000)), outcome.error


def test_the_size_of_files_does_not_bind_the_result(backend: Any) -> None:
    call = WorkerCall("def f(): return bytes(300_000)", "f")
    outcome = asyncio.run(backend.run(call, deadline_s=30, limits=Limits(file_size_bytes=100_000)))
    assert outcome.value == bytes(300_000), outcome.error


def test_a_call_may_have_other_limits_than_its_pool(make_backend: MakeBackend) -> None:
    backend = make_backend(limits=Limits(memory_bytes=100 * _MB, open_files=50))
    code = """
import resource, time
def f():
    held = bytearray(b"x") * (150 << 20)
    time.sleep(0.2)
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
"""
    call = WorkerCall(code, "f")

    async def each() -> list[Outcome]:
        given = None, Limits(memory_bytes=300 * _MB), None
        return [await backend.run(call, deadline_s=30, limits=limits) for limits in given]

    outcomes = asyncio.run(each())
    exceeded = OutcomeStatus.MEMORY_EXCEEDED
    assert [outcome.status for outcome in outcomes] == [exceeded, OutcomeStatus.OK, exceeded]
    assert outcomes[1].value == 50, "the pool's other limit must still apply"


def test_the_limits_of_a_call_are_gone_with_it(backend: Any) -> None:
    code = """
import os, resource
def f():
    names = sorted(name for name in dir(resource) if name.startswith("RLIMIT_"))
    soft = {name: resource.getrlimit(getattr(resource, name))[0] for name in names}
    return soft, sorted(os.environ)
"""
    limits = Limits(memory_bytes=300 * _MB, cpu_time_s=30, open_files=60, file_size_bytes=1000)
    limits = limits.overridden_by(Limits(soft_deadline_s=5))

    async def each() -> list[Any]:
        call = WorkerCall(code, "f")
        return [await backend.execute(call, deadline_s=30, limits=given) for given in (None, limits, None)]

    before, within, after = asyncio.run(each())
    changed = {name for name, soft in within[0].items() if soft != before[0][name]}
    assert changed - {"RLIMIT_OFILE"} == {"RLIMIT_NOFILE", "RLIMIT_FSIZE", "RLIMIT_CPU", "RLIMIT_DATA"}
    assert after == before


def test_the_soft_deadline_is_told_to_the_program(backend: Any) -> None:
    call = WorkerCall(
        "import os, time\ndef f(): return float(os.environ['GIGAEVO_EXEC_SOFT_DEADLINE_EPOCH'])", "f"
    )
    before = time.time()
    outcome = asyncio.run(backend.run(call, deadline_s=30, limits=Limits(soft_deadline_s=12.5)))
    assert before + 12.5 <= outcome.value <= time.time() + 12.5


@pytest.mark.parametrize(
    ("limits", "message"),
    [(Limits(scratch_bytes=1000), "scratch_bytes limits a scratch folder"), ({"memory_bytes": 1}, "Limits")],
)
def test_limits_that_make_no_sense_are_refused(
    backend: Any, spill_dir: Path, limits: Any, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        asyncio.run(backend.run(WorkerCall("def f(): pass", "f"), deadline_s=5, limits=limits))
    assert not spill_dir.exists(), "an invalid limit must not start the pool"


def test_a_scratch_folder_beyond_its_limit_ends_the_call(kind: Kind, make_backend: MakeBackend) -> None:
    if kind.reuses_workers:
        pytest.skip("only a sandbox has a scratch folder")
    backend = make_backend(sandbox=SandboxPolicy.standard(), limits=Limits(scratch_bytes=_MB))
    code = """
import os, time
def f():
    with open(os.environ["TMPDIR"] + "/large", "wb", 0) as file:
        file.write(bytes(5 << 20))
    time.sleep(600)
"""
    outcome = asyncio.run(backend.run(WorkerCall(code, "f"), deadline_s=30))
    assert outcome.status is OutcomeStatus.SCRATCH_EXCEEDED, outcome
    assert type(outcome.error) is ScratchExceededError
    assert outcome.error.hit is not None
    measured = outcome.error.hit.measured
    assert measured is not None
    assert _MB < measured <= 5.1 * _MB, "a sample may fall into the write"
    assert outcome.error.summary == f"used {bytes_text(measured)} of scratch space, limit 1 MiB"
    assert asyncio.run(backend.execute(WorkerCall("def f(): return 1", "f"), deadline_s=30)) == 1
