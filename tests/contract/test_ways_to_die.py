"""R33: every way for a call to die: its outcome, and no effect on other calls."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gigaexec import (
    CallTimeoutError,
    ExecRunnerError,
    GigaexecError,
    Outcome,
    OutcomeStatus,
    SpillError,
    ValueNotPicklableError,
    ValueNotReadableError,
    WorkerCall,
    WorkerCrashedError,
)
from tests.contract.bystander import bystander
from tests.contract.conftest import Kind, MakeBackend
from tests.contract.recorded_pids import NOTE_PROCESS, RecordedPids
from tests.contract.tiny_disk import tiny_disk

_OK, _ERROR = OutcomeStatus.OK, OutcomeStatus.ERROR
_TIMED_OUT, _CRASHED = OutcomeStatus.TIMED_OUT, OutcomeStatus.CRASHED

# Common to all programs below: the call is noted in the journal, and `note_process` records processes.
_PRELUDE = (
    NOTE_PROCESS
    + """
import ctypes, itertools, os, signal, socket, stat, subprocess, sys, time

def note(path, text):
    with open(path, "a") as file:
        file.write(f"{text}\\n")

def f(journal, pids):
    note(journal, "deadly")
    if not WORKER_MAY_LIVE:
        note_process(pids)
    return die(pids)

def start_daemon(pids):
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            note_process(pids)
            os.write(writer, b".")
            os.closerange(0, 1024)
            while True:
                time.sleep(60)
        os._exit(0)
    os.read(reader, 1)

def socket_descriptors():
    for number in map(int, os.listdir("/proc/self/fd")):
        try:
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                yield number
        except OSError:
            pass
"""
)


@dataclass(frozen=True)
class Way:
    """A way to die.

    Args:
        name: The test's id.
        code: Source with a function `die(pids)`.
        status: The expected status.
        error: The expected exact class of the error; None if the call succeeds.
        expected_texts: Substrings that the error's text must contain.
        returncode: The expected return code of the error, if it has one.
        deadline_s: The deadline of the call.
        runs: How many times the program's function is entered.
        pids: How many processes the call records. All of them must be dead when the call has ended.
    """

    name: str
    code: str
    status: OutcomeStatus
    error: type[GigaexecError] | None = None
    expected_texts: tuple[str, ...] = ()
    returncode: int | None = None
    deadline_s: float = 60.0
    runs: int = 1
    pids: int = 0


def _raises(name: str, body: str, *expected_texts: str, returncode: int = 1) -> Way:
    return Way(name, f"def die(pids):\n    {body}\n", _ERROR, ExecRunnerError, expected_texts, returncode)


def _crashes(name: str, body: str, *expected_texts: str, returncode: int | None = None) -> Way:
    return Way(
        name,
        f"def die(pids):\n    {body}\n",
        _CRASHED,
        WorkerCrashedError,
        expected_texts,
        returncode,
        pids=1,
    )


def _hangs(name: str, body: str, *expected_texts: str, pids: int = 1) -> Way:
    code = f"def die(pids):\n    {body}\n"
    return Way(
        name,
        code,
        _TIMED_OUT,
        CallTimeoutError,
        ("timed out after 0.4 s", *expected_texts),
        deadline_s=0.4,
        pids=pids,
    )


_WAYS = (
    _raises("raise", "raise ValueError('no luck')", "ValueError: no luck", "user_code.py"),
    Way(
        "bad syntax", "def die(pids:\n", _ERROR, ExecRunnerError, ("SyntaxError", "def die(pids:"), 1, runs=0
    ),
    _raises("sys.exit", "sys.exit(3)", "SystemExit: 3", returncode=3),
    _raises("KeyboardInterrupt", "raise KeyboardInterrupt", "KeyboardInterrupt"),
    _raises("SIGINT to itself", "signal.raise_signal(signal.SIGINT)", "KeyboardInterrupt"),
    _raises("endless recursion", "die(pids)", "RecursionError"),
    _raises("MemoryError at once", "bytearray(1 << 62)", "MemoryError"),
    Way(
        "memory hog",
        """
import resource
def die(pids):
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), hard))
    hoard = []
    while True:
        hoard.append(bytearray(1 << 20))
""",
        _ERROR,
        ExecRunnerError,
        ("MemoryError",),
    ),
    Way(
        "file descriptors exhausted",
        """
kept = []
def die(pids):
    while True:
        kept.append(os.open("/dev/null", os.O_RDONLY))
""",
        _ERROR,
        ExecRunnerError,
        ("OSError", "Too many open files"),
    ),
    _crashes("os._exit", "os._exit(7)", "exited with code 7", returncode=7),
    _crashes("os._exit(0)", "os._exit(0)", "exited with code 0", returncode=0),
    _crashes("segfault", "ctypes.string_at(0)", "SIGSEGV", "Segmentation fault", returncode=-11),
    _crashes("os.abort", "os.abort()", "SIGABRT", "Aborted", returncode=-6),
    _crashes("SIGKILL to itself", "os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL", returncode=-9),
    _crashes("SIGTERM to itself", "os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", "SIGTERM"),
    _crashes(
        "becomes another program", "os.execv('/bin/sh', ['sh', '-c', 'exit 5'])", "code 5", returncode=5
    ),
    _crashes("closes its channel", "[os.close(n) for n in socket_descriptors()]"),
    _crashes(
        "closes its channel and stays",
        "[os.close(n) for n in socket_descriptors()]; time.sleep(60)",
        "closed its worker's channel",
    ),
    _crashes("closes all descriptors", "os.closerange(0, 65536)"),
    _crashes("closes all descriptors and stays", "os.closerange(0, 65536); time.sleep(60)", "closed"),
    _crashes(
        "garbage in its channel", "[os.write(n, b'\\xff' * 999) for n in socket_descriptors()]", "wrote into"
    ),
    _crashes(
        "a garbage frame in its channel",
        "[os.write(n, (4).to_bytes(8, 'big') + b'junk') for n in socket_descriptors()]; time.sleep(60)",
        "wrote into",
    ),
    _crashes(
        "a stray byte before its answer", "[os.write(n, b'\\0') for n in socket_descriptors()]", "wrote into"
    ),
    _hangs("endless loop", "while True: pass"),
    _hangs("endless loop in C that holds the GIL", "any(itertools.repeat(0))"),
    _hangs(
        "endless loop that ignores SIGTERM",
        "[signal.signal(n, signal.SIG_IGN) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]\n"
        "    while True: time.sleep(0.01)",
    ),
    _hangs("stops itself", "os.kill(os.getpid(), signal.SIGSTOP)"),
    _hangs("endless flood of output", "print('first')\n    while True: os.write(1, b'x' * 65536)", "first"),
    _hangs(
        "waits for a child",
        "child = subprocess.Popen(['sleep', '600']); note_process(pids, child.pid); child.wait()",
        pids=2,
    ),
    _hangs("daemon, then an endless loop", "start_daemon(pids)\n    while True: pass", pids=2),
    Way(
        "daemon, then os._exit",
        "def die(pids): start_daemon(pids); os._exit(4)",
        _CRASHED,
        WorkerCrashedError,
        pids=2,
    ),
    Way("daemon, then a normal return", "def die(pids): start_daemon(pids)", _OK, pids=1),
    Way("flood of output", "def die(pids): os.write(1, b'x' * 10_000_000) and None", _OK),
    Way(
        "unpicklable value",
        "def die(pids): return (n for n in range(3))",
        _ERROR,
        ValueNotPicklableError,
        ("return value of type generator", "cannot be pickled"),
    ),
    Way(
        "value that raises in the driver",
        "class Bad:\n    def __reduce__(self): return eval, ('1 / 0',)\ndef die(pids): return Bad()",
        _ERROR,
        ValueNotReadableError,
        ("cannot be unpickled", "ZeroDivisionError"),
    ),
    Way(
        "value that exits the driver",
        "class Bad:\n    def __reduce__(self): return sys.exit, (3,)\ndef die(pids): return Bad()",
        _ERROR,
        ValueNotReadableError,
        ("SystemExit",),
    ),
    Way(
        "large value that raises in the driver",
        "class Bad:\n    def __reduce__(self): return eval, ('1 / 0',)\n"
        "def die(pids): return [b'x' * 200_000, Bad()]",
        _ERROR,
        ValueNotReadableError,
        ("ZeroDivisionError",),
    ),
)


@pytest.mark.parametrize("way", _WAYS, ids=lambda way: way.name)
def test_r33_a_dying_call_gets_its_error_and_affects_no_other_call(
    way: Way, kind: Kind, make_backend: MakeBackend, tmp_path: Path, pids: RecordedPids
) -> None:
    outcome = asyncio.run(_die_among_bystanders(make_backend(), way, tmp_path, pids))
    _check(outcome, way, kind)


def test_r33_r22_a_full_disk_is_infrastructure_and_affects_no_other_call(
    kind: Kind, make_backend: MakeBackend, tmp_path: Path, pids: RecordedPids
) -> None:
    way = Way(
        "full disk",
        "def die(pids): return b'x' * 1_000_000",
        OutcomeStatus.INFRASTRUCTURE,
        SpillError,
        ("No space left on device", "spill_dir"),
    )
    with tiny_disk(tmp_path / "disk", size_kb=256) as disk:
        backend = make_backend(spill_dir=disk)
        _check(asyncio.run(_die_among_bystanders(backend, way, tmp_path, pids)), way, kind)
        assert {file.suffix for file in disk.iterdir()} <= {".lock", ".programs"}
        asyncio.run(backend.shutdown(wait=True))
        assert not list(disk.iterdir())


def test_r33_r62_failing_hooks_affect_no_call(
    kind: Kind, make_backend: MakeBackend, tmp_path: Path, pids: RecordedPids
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("this hook is broken")

    backend = make_backend()
    backend.on_submit(fail)
    backend.on_complete(fail)
    way = _raises("failing hooks", "raise ValueError('no luck')", "ValueError: no luck")
    _check(asyncio.run(_die_among_bystanders(backend, way, tmp_path, pids)), way, kind)


def _check(outcome: Outcome, way: Way, kind: Kind) -> None:
    assert outcome.status is way.status, outcome
    if way.error is None:
        assert outcome.error is None
    else:
        assert type(outcome.error) is way.error, outcome.error
        assert not [text for text in way.expected_texts if text not in str(outcome.error)], str(outcome.error)
    if way.returncode is not None:
        assert isinstance(outcome.error, ExecRunnerError)
        assert outcome.error.returncode == way.returncode
    # R61: a call that answered has metrics. Otherwise only the process that reaps the worker knows them.
    was_killed = way.status in (_TIMED_OUT, _CRASHED)
    assert (outcome.metrics is None) == (was_killed and not kind.knows_cost_of_killed)


async def _die_among_bystanders(backend: Any, way: Way, folder: Path, pids: RecordedPids) -> Outcome:
    """Run the dying call beside one running and two queued calls; check those calls and the pool."""
    journal, release = folder / "journal", folder / "release"
    worker_may_live = way.status not in (_TIMED_OUT, _CRASHED)
    code = _PRELUDE.replace("WORKER_MAY_LIVE", str(worker_may_live)) + way.code
    deadly = WorkerCall(code, "f", [str(journal), pids.path])

    async def run(call: WorkerCall) -> Outcome:
        outcome: Outcome = await backend.run(call, deadline_s=60.0)
        return outcome

    running = asyncio.create_task(run(bystander(str(journal), "running", release=str(release))))
    while not (journal.exists() and journal.read_text()):
        assert not running.done(), running.result()
        await asyncio.sleep(0.005)
    dying = asyncio.create_task(backend.run(deadly, deadline_s=way.deadline_s))
    await asyncio.sleep(0)  # queue the dying call first
    queued = [asyncio.create_task(run(bystander(str(journal), name))) for name in ("queued1", "queued2")]

    outcome: Outcome = await dying
    assert len(pids.all()) == way.pids
    assert pids.running() == [], "R35: processes of the call outlive it"
    # The queued calls end while the first call still runs: the dead worker was replaced at once.
    assert [(await task).value for task in queued] == ["queued1", "queued2"]
    assert not running.done()
    release.touch()
    assert (await running).value == "running"
    assert (await run(bystander(str(journal), "next"))).value == "next"

    expected = Counter(["running", "queued1", "queued2", "next"] + ["deadly"] * way.runs)
    assert Counter(journal.read_text().split()) == expected, "each call runs exactly once"
    return outcome
