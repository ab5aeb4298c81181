"""R110: a signal to the driver prints at most one traceback, and leaves no process behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import wait_until
from tests.process.marked import Mark
from tests.process.scripts import command

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds processes by /proc")

# Runs in each new interpreter before any other code. The driver itself starts without the variable.
SLOW_START = """
import os, time
if (folder := os.environ.get("GIGAEVO_STARTING")) is not None:
    open(f"{folder}/{os.getpid()}", "w").close()
    time.sleep(1.0)
"""
DRIVER = """
import os, sys, gigaexec
kind, moment, folder = sys.argv[1:]
backend = getattr(gigaexec, kind)(gigaexec.WorkerConfig(max_workers=2))
code = f"import time\\ndef f():\\n    open({folder!r} + '/runs', 'w').close()\\n    time.sleep(1000)"
if moment == "start":
    os.environ["GIGAEVO_STARTING"] = folder
gigaexec.run(code, "f", backend=backend, deadline_s=2000)
"""


def interrupted(kind: str, moment: str, number: signal.Signals, folder: Path) -> tuple[int, str, Mark]:
    """Send a signal to the process group of a driver, as a terminal does. Returns exit code, stderr, mark."""
    (folder / "sitecustomize.py").write_text(SLOW_START)
    told = folder / "told"
    told.mkdir()
    mark = Mark()
    with subprocess.Popen(
        command(DRIVER, kind, moment, str(told)),
        env={**os.environ, **mark.env, "PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as driver:
        wait_until(lambda: any(told.iterdir()), 30.0, f"the {moment} of a worker")
        os.killpg(driver.pid, number)
        try:
            _, errors = driver.communicate(timeout=20)
        finally:
            driver.kill()
    return driver.returncode, errors, mark


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["start", "run"])
@pytest.mark.parametrize("kind", ["LokyBackend", "ForkserverBackend"])
def test_r110_a_signal_prints_only_the_drivers_own_traceback(
    kind: str, moment: str, number: signal.Signals, tmp_path: Path
) -> None:
    exit_code, errors, mark = interrupted(kind, moment, number, tmp_path)
    assert exit_code == -number
    assert errors.count("Traceback (most recent call last)") == (number == signal.SIGINT), errors
    assert "leaked" not in errors
    wait_until(lambda: not mark.pids(), 10.0, "the end of all processes of the driver")


@pytest.mark.parametrize("kind", ["LokyBackend", "ForkserverBackend"])
def test_r110_no_helper_process_is_left_after_a_shutdown(kind: str) -> None:
    source = f"""
    import psutil, gigaexec
    with_worker = gigaexec.{kind}(gigaexec.WorkerConfig(max_workers=1))
    gigaexec.run("def f(): return 1", "f", backend=with_worker)
    with_worker.shutdown_now(wait=True)
    print([process.cmdline() for process in psutil.Process().children(recursive=True)])
    """
    ended = subprocess.run(command(source), capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.strip() == "[]"
    assert ended.stderr == ""
