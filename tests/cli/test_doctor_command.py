"""`gigaexec doctor`."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

from tests.cli.conftest import COMMAND, RunCommand


def test_doctor_says_that_calls_work(gigaexec_command: RunCommand, spill_dir: Path) -> None:
    done = gigaexec_command("doctor")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Calls work here." in done.stdout
    for topic in ("Python", "CPUs", "spill directory", "a call", "parent death", "start method"):
        assert topic in done.stdout
    assert f"{spill_dir}, yours" in done.stdout
    assert "\x1b" not in done.stdout


def test_r36_doctor_kills_a_driver_and_measures_the_death_of_its_worker(gigaexec_command: RunCommand) -> None:
    found = json.loads(gigaexec_command("doctor", "--json").stdout)
    assert found["ok"] is True
    by_topic = {finding["topic"]: finding for finding in found["findings"]}
    assert 0 <= by_topic["parent death"]["data"]["worker_gone_s"] < 2
    assert by_topic["parent death"]["data"]["pr_set_pdeathsig"] == 9
    assert by_topic["spill directory"]["data"]["mode"] == "0700"
    assert by_topic["spill directory"]["data"]["mmap_works"] is True
    assert by_topic["a call"]["data"]["warm_s"] < by_topic["a call"]["data"]["cold_s"]


def test_r36_doctor_respects_that_the_death_signal_is_turned_off(gigaexec_command: RunCommand) -> None:
    done = gigaexec_command("doctor", environment={"GIGAEVO_EXECUTOR_DISABLE_PDEATHSIG": "1"})
    assert "PR_SET_PDEATHSIG is turned off" in done.stdout
    assert done.returncode == 0


def test_r21_doctor_finds_a_spill_directory_that_is_open_to_others(
    gigaexec_command: RunCommand, tmp_path: Path
) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    done = gigaexec_command("doctor", environment={"GIGAEVO_EXECUTOR_SPILL_DIR": str(folder)})
    assert done.returncode == 1
    assert f"chmod 700 {folder}" in done.stdout
    assert "Calls do not work here yet" in done.stdout


def test_r70_doctor_names_settings_that_cannot_be_read(gigaexec_command: RunCommand) -> None:
    done = gigaexec_command("doctor", "--json", environment={"GIGAEVO_EXECUTOR_MAX_WORKERS": "many"})
    findings = json.loads(done.stdout)["findings"]
    [finding] = [finding for finding in findings if finding["topic"] == "settings"]
    assert finding["state"] == "warning"
    assert "GIGAEVO_EXECUTOR_MAX_WORKERS" in finding["fact"]
    assert done.returncode == 0


def test_ctrl_c_ends_the_doctor_with_status_130() -> None:
    with subprocess.Popen([*COMMAND, "doctor"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()  # wait for the first finding; probes that start workers come later
        running.send_signal(signal.SIGINT)
        assert running.stderr.read() == b"gigaexec: stopped by SIGINT\n"
    assert running.returncode == 130
