"""R113: kills are done in short parts, and end even if a process cannot be killed."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from gigaexec.pool.supervision import process_tree
from gigaexec.pool.supervision.kills import Kill, Kills
from gigaexec.pool.supervision.process_tree import Killing, kill_orphans, kill_tree, run_to_end


def _of_parts(count: int, done: list[int]) -> Killing:
    for number in range(count):
        time.sleep(0.001)
        done.append(number)
        yield 0.0
    return True


def test_a_long_kill_is_done_in_several_turns_and_others_get_their_part() -> None:
    kills, results = Kills(), list[bool]()
    long_parts, short_parts = list[int](), list[int]()
    kills.start(Kill(None, _of_parts(100, long_parts), results.append))
    kills.start(Kill(None, _of_parts(1, short_parts), results.append))
    kills.do_parts()
    assert len(long_parts) < 50
    kills.do_parts()
    assert short_parts
    while not results or len(short_parts) + len(long_parts) < 101:
        kills.do_parts()
        for kill in kills.take_done():
            kill.report()
    kills.plan()
    assert (results, kills.next_at) == ([True, True], float("inf"))


def test_a_paused_kill_waits_for_its_time() -> None:
    def pausing() -> Killing:
        yield 600.0
        return True

    kills = Kills()
    kills.start(Kill(None, pausing(), lambda _: None))
    kills.do_parts()
    kills.do_parts()
    kills.plan()
    assert not kills.take_done()
    assert 500 < kills.next_at - time.monotonic() <= 600


def test_a_kill_that_raises_is_reported_as_incomplete(caplog: pytest.LogCaptureFixture) -> None:
    def failing() -> Killing:
        yield 0.0
        raise ValueError("no number")

    kills, results = Kills(), list[bool]()
    kills.start(Kill(None, failing(), results.append))
    kills.do_parts()
    for kill in kills.take_done():
        kill.report()
    assert results == [False]
    assert "cannot be killed" in caplog.text


def test_an_abandoned_kill_reports_nothing() -> None:
    kills, done = Kills(), list[int]()
    worker = object()
    kills.start(Kill(worker, _of_parts(9, done), lambda _: pytest.fail("expected no report")))
    kills.abandon(object())
    kills.abandon(worker)
    kills.abandon(worker)
    kills.do_parts()
    assert not kills.take_done()
    assert not done


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has started another one."""
    command = ["sh", "-c", "sleep 600 & echo started; wait"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_r113_waiting_for_a_process_that_does_not_die_has_an_end(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(process_tree, "_LONGEST_S", 0.2)
    monkeypatch.setattr(process_tree, "_is_alive", lambda _: True)
    monkeypatch.setattr(process_tree, "_carries", lambda pid, _: pid == child.pid)
    assert not run_to_end(kill_tree(child.pid, None))
    assert not run_to_end(kill_orphans(["no such id"], ()))
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
