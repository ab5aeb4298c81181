"""Ctrl-C, SIGTERM and SIGHUP during `gigaexec evaluate`, and the output on a terminal."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.cli.conftest import COMMAND, PROGRAMS
from tests.conftest import wait_until
from tests.contract.recorded_pids import NOTE_PROCESS, RecordedPids

# Writes its process ID to a file, then never ends. It ignores the SIGINT that a terminal sends to the group.
_SPINS = """
import signal

def entrypoint():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    note_process(READY)
    while True:
        pass
"""


@pytest.fixture
def ready(problem: Path, tmp_path: Path) -> Path:
    """Path of the file that the problem's endless program writes when it starts."""
    path = tmp_path / "ready"
    for initial in (problem / "initial_programs").iterdir():
        initial.unlink()
    (problem / "initial_programs" / "a_good.py").write_text("def entrypoint(): return [1.0]\n")
    (problem / "initial_programs" / "spins.py").write_text(f"{NOTE_PROCESS}\nREADY = {str(path)!r}\n{_SPINS}")
    return path


def _is_running(ready: Path, results: Path) -> bool:
    return bool(ready.exists() and ready.read_text() and results.exists() and results.read_text())


@contextmanager
def _piped(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Run the command with pipes and kill it on exit, so a failed assertion does not wait for it."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_r35_r110_signal_stops_at_once_and_keeps_what_was_done(
    problem: Path, ready: Path, tmp_path: Path, number: signal.Signals
) -> None:
    results = tmp_path / "out" / "results.jsonl"
    command = [*COMMAND, "evaluate", str(problem), "--workers", "2", "--output", str(results.parent)]
    with _piped(command) as running:
        wait_until(lambda: _is_running(ready, results), timeout_s=30)
        processes = psutil.Process(running.pid).children(recursive=True)
        running.send_signal(number)
        table, told = running.communicate(timeout=10)
    assert running.returncode == 128 + number
    assert f"stopped by {number.name}: 1 of 2 programs were done; results in {results}" in told
    assert "a_good" in table
    assert "spins" not in table
    assert [json.loads(line)["name"] for line in results.read_text().splitlines()] == ["a_good"]
    wait_until(lambda: not any(process.is_running() for process in processes), timeout_s=5)


def test_impatience_gets_the_same_end_as_one_ctrl_c(problem: Path, ready: Path, tmp_path: Path) -> None:
    results = tmp_path / "out" / "results.jsonl"
    command = [*COMMAND, "evaluate", str(problem), "--workers", "2", "--output", str(results.parent)]
    with _piped(command) as running:
        wait_until(lambda: _is_running(ready, results), timeout_s=30)
        give_up_at_s = time.monotonic() + 20
        while running.poll() is None and time.monotonic() < give_up_at_s:
            running.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                running.wait(0.01)
        table, told = running.communicate(timeout=10)
    assert running.returncode == 130
    assert told == f"gigaexec: stopped by SIGINT: 1 of 2 programs were done; results in {results}\n"
    assert "a_good" in table


class _Terminal:
    """The command as foreground process of a new pseudo-terminal."""

    def __init__(self, command: list[str], columns: int) -> None:
        # Keep the slave open: when no process has it open, reads of the master fail with EIO.
        self._master, self._slave = pty.openpty()
        name = os.ttyname(self._slave)
        # A session leader that opens a terminal makes it its controlling terminal, so Ctrl-C sends it SIGINT.
        script = f'stty cols {columns} rows 40 <"$0"; exec "$@" <"$0" >"$0" 2>&1'
        environment = {**os.environ, "TERM": "xterm-256color"}
        environment.pop("COLUMNS", None)
        environment.pop("NO_COLOR", None)
        self.process = subprocess.Popen(
            ["sh", "-c", script, name, *command], start_new_session=True, env=environment
        )
        self.seen = ""

    def read(self) -> None:
        """Append new output to `seen`; wait up to 0.05 s for it."""
        readable, _, _ = select.select([self._master], [], [], 0.05)
        if readable:
            self.seen += os.read(self._master, 65536).decode(errors="replace")

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def hang_up(self) -> None:
        """Close the terminal, as a terminal window does. The kernel sends SIGHUP to the command."""
        os.close(self._master)
        self._master = -1

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for descriptor in {self._master, self._slave} - {-1}:
            os.close(descriptor)


@pytest.fixture
def terminal(problem: Path, ready: Path) -> Iterator[_Terminal]:
    opened = _Terminal([*COMMAND, "evaluate", str(problem), "--workers", "2"], columns=100)
    yield opened
    opened.close()


def test_terminal_gets_progress_and_colours_and_ctrl_c_ends_all(terminal: _Terminal, ready: Path) -> None:
    while "1/2" not in terminal.seen or not ready.exists():
        terminal.read()
    assert "failed" in terminal.seen
    worker = RecordedPids(ready)
    assert len(worker.running()) == 1
    terminal.type("\x03")
    while terminal.process.poll() is None:
        terminal.read()
    terminal.read()
    assert terminal.process.returncode == 130
    assert "stopped by SIGINT: 1 of 2 programs were done" in terminal.seen
    assert "\x1b[32myes" in terminal.seen
    assert "KeyboardInterrupt" not in terminal.seen
    wait_until(lambda: not worker.running(), timeout_s=5)


def test_r110_a_closed_terminal_ends_all(problem: Path, ready: Path, tmp_path: Path) -> None:
    results = tmp_path / "out" / "results.jsonl"
    command = [*COMMAND, "evaluate", str(problem), "--workers", "2", "--output", str(results.parent)]
    terminal = _Terminal(command, columns=100)
    try:
        while not _is_running(ready, results):
            terminal.read()
        worker = RecordedPids(ready)
        terminal.hang_up()
        assert terminal.process.wait(20) == 128 + signal.SIGHUP
    finally:
        terminal.close()
    wait_until(lambda: not worker.running(), timeout_s=5)


def test_r110_sighup_stays_ignored_under_nohup(problem: Path, ready: Path, tmp_path: Path) -> None:
    results = tmp_path / "out" / "results.jsonl"
    command = [*COMMAND, "evaluate", str(problem), "--workers", "2", "--output", str(results.parent)]
    with _piped(["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *command]) as running:
        wait_until(lambda: _is_running(ready, results), timeout_s=30)
        running.send_signal(signal.SIGHUP)
        running.send_signal(signal.SIGTERM)
        _, told = running.communicate(timeout=10)
    assert running.returncode == 128 + signal.SIGTERM
    assert "stopped by SIGTERM" in told


def test_progress_on_a_terminal_leaves_results_on_stdout(problem: Path) -> None:
    master, slave = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    command = [*COMMAND, "evaluate", str(problem), "--workers", "2", "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=slave, text=True, env={**environment, "TERM": "xterm"}
    ) as running:
        assert running.stdout is not None
        lines = running.stdout.read().splitlines()
    shown = os.read(master, 65536).decode(errors="replace")
    os.close(master)
    os.close(slave)
    assert {json.loads(line)["name"] for line in lines} == PROGRAMS.keys()
    assert "evaluating" in shown
    assert "3 failed" in shown
    assert "program_id" not in shown
