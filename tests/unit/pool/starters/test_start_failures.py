"""R33, R62: when failed starts are retried, and when a queued call fails with WorkerStartError."""

from __future__ import annotations

import errno

import pytest

from gigaexec.pool.starters.start_failures import StartFailures, shortage_behind


class Clock:
    """A replacement of the monotonic clock that the test advances."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        monkeypatch.setattr("time.monotonic", lambda: self.now_s)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_two_failures_in_a_row_fail_no_call_and_the_third_fails_one(clock: Clock) -> None:
    failures = StartFailures(60.0)
    assert [failures.add() for _ in range(4)] == [False, False, True, True]
    failures.end()
    assert not failures.add(), "a successful start resets the count of failures"


def test_pauses_grow_up_to_half_a_second(clock: Clock) -> None:
    failures = StartFailures(60.0)
    pauses = []
    for _ in range(7):
        failures.add()
        pauses.append(round(max(0.0, failures.next_try_at - clock.now_s), 3))
    assert pauses == [0.0, 0.05, 0.1, 0.2, 0.4, 0.5, 0.5]
    failures.end()
    assert failures.next_try_at <= clock.now_s


def test_failures_of_one_template_count_once(clock: Clock) -> None:
    failures = StartFailures(60.0)
    first, second = object(), object()
    fails_a_call = [failures.add(template=template) for template in (first, first, first, second, second)]
    assert fails_a_call == [False] * 5
    assert failures.add(), "expected the third counted failure to fail a queued call"


def test_a_hung_start_fails_a_call_at_once(clock: Clock) -> None:
    assert StartFailures(60.0).add(is_hung=True)


@pytest.mark.parametrize(("start_timeout_s", "patience_s"), [(60.0, 10.0), (2.0, 2.0)])
def test_a_shortage_fails_a_call_only_if_it_lasts(
    clock: Clock, start_timeout_s: float, patience_s: float
) -> None:
    failures = StartFailures(start_timeout_s)
    assert not any(failures.add(is_shortage=True) for _ in range(50))
    clock.now_s += patience_s - 0.1
    assert not failures.add(is_shortage=True)
    clock.now_s += 0.1
    assert failures.add(is_shortage=True)


def test_no_call_fails_while_other_workers_serve_and_patience_starts_again(clock: Clock) -> None:
    failures = StartFailures(60.0)
    assert not any(failures.add(others_serve=True) for _ in range(9))
    clock.now_s += 1000.0
    assert not failures.add(others_serve=True, is_shortage=True)
    clock.now_s += 9.0
    assert not failures.add(is_shortage=True)
    clock.now_s += 1.0
    assert failures.add(is_shortage=True)


def test_other_starting_workers_delay_the_failure_by_a_shortage_but_not_by_a_hung_start(clock: Clock) -> None:
    failures = StartFailures(60.0)
    assert not failures.add(is_shortage=True, others_start=True)
    clock.now_s += 10.0
    assert not failures.add(is_shortage=True, others_start=True)
    assert failures.add(is_shortage=True), "no other worker is starting any more"
    assert failures.add(is_hung=True, others_start=True)


def test_shortages_do_not_count_towards_the_three_failures(clock: Clock) -> None:
    failures = StartFailures(60.0)
    assert not any(failures.add(is_shortage=True) for _ in range(5))
    assert [failures.add() for _ in range(3)] == [False, False, True]


def test_shortages_are_recognized_by_errno() -> None:
    shortage = OSError(errno.EMFILE, "Too many open files")
    assert shortage_behind(shortage) is shortage
    assert shortage_behind(FileNotFoundError(errno.ENOENT, "no interpreter")) is None
    assert shortage_behind(ValueError("no error of the system")) is None


def test_a_shortage_is_found_behind_an_error_of_the_cleanup() -> None:
    shortage = OSError(errno.EMFILE, "Too many open files")
    masking = UnboundLocalError("parent_r")
    masking.__context__ = shortage
    assert shortage_behind(masking) is shortage
