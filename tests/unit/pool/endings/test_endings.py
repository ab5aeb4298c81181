"""R33, R34, R61, R62: the status, error and clocks that a caller gets for each ending of a job."""

from __future__ import annotations

import math
from typing import Any

import pytest

from gigaexec.calls import (
    CapturedOutput,
    ErrorKind,
    ExecutionMetrics,
    LimitHit,
    OutcomeStatus,
    WorkerError,
    WorkerResult,
)
from gigaexec.errors import (
    CallCancelledError,
    CallTimeoutError,
    ExecRunnerError,
    GigaexecError,
    LimitExceededError,
    QueueTimeoutError,
    SpillError,
    ValueNotPicklableError,
    WorkerCrashedError,
    WorkerStartError,
)
from gigaexec.pool.endings.outcome import failed_outcome, successful_outcome
from gigaexec.pool.jobs import Ending, EndingKind, Job

METRICS = ExecutionMetrics(1, 1.0, 1.0, 1.0, 1)
OUTPUT = CapturedOutput("printed\n", "", 8, 0)


def answered(kind: ErrorKind) -> Ending:
    error = WorkerError("Traceback ...", 3, kind, "ValueError: x")
    return Ending(EndingKind.ANSWERED, WorkerResult(None, error, METRICS), output=OUTPUT, metrics=METRICS)


@pytest.mark.parametrize(
    ("ending", "status", "error_type", "summary"),
    [
        (answered(ErrorKind.USER), OutcomeStatus.ERROR, ExecRunnerError, "ValueError: x"),
        (answered(ErrorKind.VALUE), OutcomeStatus.ERROR, ValueNotPicklableError, "ValueError: x"),
        (
            answered(ErrorKind.ARGUMENTS),
            OutcomeStatus.ERROR,
            ExecRunnerError,
            "ValueError: x",
        ),
        (answered(ErrorKind.SPILL), OutcomeStatus.INFRASTRUCTURE, SpillError, "ValueError: x"),
        (
            Ending(EndingKind.TIMED_OUT, run_time_s=2.0, output=OUTPUT),
            OutcomeStatus.TIMED_OUT,
            CallTimeoutError,
            "timed out after 1.5 s",
        ),
        (
            Ending(EndingKind.WORKER_DIED, exit_code=-11, output=OUTPUT),
            OutcomeStatus.CRASHED,
            WorkerCrashedError,
            "killed by SIGSEGV",
        ),
        (
            Ending(EndingKind.WORKER_DIED, exit_code=7, output=OUTPUT),
            OutcomeStatus.CRASHED,
            WorkerCrashedError,
            "exited with code 7 before it returned",
        ),
        (
            Ending(EndingKind.WORKER_DIED, exit_code=-9, message="it closed its channel", output=OUTPUT),
            OutcomeStatus.CRASHED,
            WorkerCrashedError,
            "it closed its channel; the worker process was ended",
        ),
        (
            Ending(EndingKind.CANCELLED, message="the backend was shut down", output=OUTPUT),
            OutcomeStatus.CANCELLED,
            CallCancelledError,
            "the backend was shut down",
        ),
        (
            Ending(EndingKind.QUEUE_TIMED_OUT),
            OutcomeStatus.INFRASTRUCTURE,
            QueueTimeoutError,
            "no worker was free within queue_timeout_s = 0.25 s; the call never ran",
        ),
        (
            Ending(EndingKind.NOT_STARTED, message="no memory"),
            OutcomeStatus.INFRASTRUCTURE,
            WorkerStartError,
            "no memory",
        ),
    ],
    ids=lambda value: value.kind.name if isinstance(value, Ending) else None,
)
def test_r33_each_ending_has_its_status_and_error(
    ending: Ending, status: OutcomeStatus, error_type: type[GigaexecError], summary: str
) -> None:
    outcome = failed_outcome(ending, deadline_s=1.5, queue_timeout_s=0.25)
    assert outcome.status is status
    assert type(outcome.error) is error_type
    assert str(outcome.error).splitlines()[0] == summary
    assert outcome.value is None
    assert outcome.output == ending.output
    assert outcome.metrics == (METRICS if ending.result else None)
    if isinstance(outcome.error, ExecRunnerError | CallTimeoutError):
        assert "printed" in str(outcome.error)
        assert outcome.error.output == OUTPUT


@pytest.mark.parametrize(
    ("hit", "message"),
    [
        (LimitHit("memory_bytes", 1000 * 2**20, 1011 * 2**20), "used 1011 MiB of memory, limit 1000 MiB"),
        (
            LimitHit("memory_bytes", 1000 * 2**20, 1000 * 2**20 + 9),
            "used more than 1000 MiB of memory, limit 1000 MiB",
        ),
        (LimitHit("cpu_time_s", 0.5, 0.5219), "used 0.522 s of CPU time, limit 0.5 s"),
        (LimitHit("cpu_time_s", 3600, 3601.5), "used 3602 s of CPU time, limit 3600 s"),
        (LimitHit("processes", 3, 5), "had 5 processes, limit 3"),
        (LimitHit("output_bytes", 1000, 1500), "wrote 1.46 KiB of output, limit 1000 bytes"),
        (LimitHit("result_bytes", 1000, 1001), "returned 1001 bytes of data, limit 1000 bytes"),
        (LimitHit("scratch_bytes", 2**20, 2**21), "used 2 MiB of scratch space, limit 1 MiB"),
    ],
)
def test_a_limit_error_says_what_was_measured(hit: LimitHit, message: str) -> None:
    ending = Ending(EndingKind.LIMIT_HIT, hit=hit, output=OUTPUT)
    outcome = failed_outcome(ending, deadline_s=1, queue_timeout_s=None)
    assert isinstance(outcome.error, LimitExceededError)
    assert (outcome.error.summary, outcome.error.hit, outcome.status) == (message, hit, outcome.error.status)


def test_a_limit_error_says_what_was_refused() -> None:
    error = WorkerError("Traceback ...", 1, ErrorKind.LIMIT, "MemoryError", LimitHit("memory_bytes", 2**28))
    ending = Ending(EndingKind.ANSWERED, WorkerResult(None, error, METRICS), metrics=METRICS)
    outcome = failed_outcome(ending, deadline_s=1, queue_timeout_s=None)
    assert outcome.status is OutcomeStatus.MEMORY_EXCEEDED
    assert str(outcome.error) == "was refused more than 256 MiB of memory: MemoryError\nTraceback ..."


def test_a_forged_limit_is_an_error_of_the_program() -> None:
    for hit in (None, LimitHit("nothing", 1)):
        error = WorkerError("", 1, ErrorKind.LIMIT, "forged", hit)
        ending = Ending(EndingKind.ANSWERED, WorkerResult(None, error, METRICS))
        outcome = failed_outcome(ending, deadline_s=1, queue_timeout_s=None)
        assert (outcome.status, type(outcome.error)) == (OutcomeStatus.ERROR, ExecRunnerError)


@pytest.mark.parametrize(
    ("exit_code", "signal_name"),
    [(1, None), (0, None), (-9, "SIGKILL"), (-6, "SIGABRT"), (-40, "signal 40"), (-1000, "signal 1000")],
)
def test_r33_a_crash_names_its_signal(exit_code: int, signal_name: str | None) -> None:
    ending = Ending(EndingKind.WORKER_DIED, exit_code=exit_code)
    error = failed_outcome(ending, deadline_s=1, queue_timeout_s=None).error
    assert isinstance(error, WorkerCrashedError)
    assert (error.signal_name, error.returncode) == (signal_name, exit_code)


def test_r33_an_unknown_exit_code_is_not_invented() -> None:
    error = failed_outcome(Ending(EndingKind.WORKER_DIED), deadline_s=1, queue_timeout_s=None).error
    assert isinstance(error, WorkerCrashedError)
    assert (error.signal_name, error.returncode) == (None, None)
    assert "exit code unknown" in str(error)


def test_r33_an_exit_status_is_passed_on() -> None:
    error = failed_outcome(answered(ErrorKind.USER), deadline_s=1, queue_timeout_s=None).error
    assert isinstance(error, ExecRunnerError)
    assert (error.returncode, error.metrics) == (3, METRICS)
    assert error.stderr.startswith("Traceback ...\n\n--- captured output: stdout ---\nprinted\n")


def test_r61_a_successful_outcome_keeps_metrics_and_clocks() -> None:
    ending = Ending(
        EndingKind.ANSWERED,
        WorkerResult(None, None, METRICS),
        output=OUTPUT,
        metrics=METRICS,
        queue_time_s=1.0,
        start_time_s=2.0,
        run_time_s=3.0,
    )
    outcome = successful_outcome(ending, [1])
    assert (outcome.status, outcome.value, outcome.error) == (OutcomeStatus.OK, [1], None)
    assert (outcome.metrics, outcome.output) == (METRICS, OUTPUT)
    assert (outcome.queue_time_s, outcome.start_time_s, outcome.run_time_s) == (1.0, 2.0, 3.0)


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        monkeypatch.setattr("time.monotonic", lambda: self.now_s)


def make_job(endings: list[Ending]) -> Job:
    return Job([b"frame"], deadline_s=1.0, queue_timeout_s=None, on_ended=endings.append)


def test_r62_a_job_ends_once() -> None:
    endings: list[Ending] = []
    job = make_job(endings)
    job.end(Ending(EndingKind.CANCELLED, message="first"))
    job.end(Ending(EndingKind.TIMED_OUT))
    assert [ending.message for ending in endings] == ["first"]
    assert job.is_ended
    assert job.frames == [], "the job still holds its arguments"


def test_r34_queue_start_and_run_time_are_separate(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    endings: list[Ending] = []
    job = make_job(endings)
    clock.now_s = 104.0  # 4 s since submission, 1 s of them spent starting a worker
    job.mark_dispatched(awaited_since=102.5, worker_ready_at=103.5, is_first_call=True)
    clock.now_s = 104.25  # sending a large call takes time
    job.mark_started(clock.now_s)
    clock.now_s = 107.25
    job.end(Ending(EndingKind.ANSWERED))
    assert_clocks(endings[0], queue_time_s=3.0, start_time_s=1.25, run_time_s=3.0)


def test_r34_start_time_is_only_the_wait_for_a_worker_that_was_starting_already(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    endings: list[Ending] = []
    job = make_job(endings)
    clock.now_s = 101.0
    job.mark_dispatched(awaited_since=90.0, worker_ready_at=101.0, is_first_call=True)
    job.mark_started(clock.now_s)
    job.end(Ending(EndingKind.ANSWERED))
    assert_clocks(endings[0], queue_time_s=0.0, start_time_s=1.0, run_time_s=0.0)


def test_r34_an_idle_worker_adds_no_start_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    endings: list[Ending] = []
    job = make_job(endings)
    clock.now_s = 102.0
    job.mark_dispatched(awaited_since=90.0, worker_ready_at=91.0, is_first_call=False)
    job.mark_started(clock.now_s)
    clock.now_s = 102.5
    job.end(Ending(EndingKind.ANSWERED))
    assert_clocks(endings[0], queue_time_s=2.0, start_time_s=0.0, run_time_s=0.5)


def test_r34_a_call_that_never_ran_has_queue_time_only(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    endings: list[Ending] = []
    job = make_job(endings)
    clock.now_s = 105.0
    job.end(Ending(EndingKind.QUEUE_TIMED_OUT))
    assert_clocks(endings[0], queue_time_s=5.0, start_time_s=0.0, run_time_s=0.0)


def assert_clocks(ending: Ending, **clocks: Any) -> None:
    for name, seconds in clocks.items():
        assert math.isclose(getattr(ending, name), seconds, abs_tol=1e-9), name
