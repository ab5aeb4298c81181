"""Processes of a driver do not import from the current folder, unless it is on sys.path."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.scripts import TIMEOUT_S

_DRIVER = """
import gigaexec

if __name__ == "__main__":
    policy = gigaexec.SandboxPolicy.{level}()
    backend = gigaexec.ForkserverBackend(gigaexec.WorkerConfig(max_workers=1, sandbox=policy))
    print(gigaexec.run("import json\\ndef f(): return json.dumps([1])", "f", backend=backend))
    backend.shutdown_now(wait=True)
"""

_DOCTOR = """
from gigaexec.cli.probes.workers import probe_parent_death
from gigaexec.config import WorkerConfig

if __name__ == "__main__":
    print(probe_parent_death(WorkerConfig()).state.value)
"""


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder with a module for each standard library name; importing one appends its name to a file."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    record_import = f"open({str(tmp_path / 'ran')!r}, 'a').write(__name__ + '\\n')\nraise SystemExit(1)\n"
    for name in (*sys.stdlib_module_names, "gigaexec", "cloudpickle", "sitecustomize"):
        (folder / f"{name}.py").write_text(record_import)
    return folder


@pytest.mark.parametrize("level", ["off", "standard"])
def test_a_template_imports_nothing_from_the_current_folder(
    level: str, hostile: Path, tmp_path: Path
) -> None:
    assert _run(_DRIVER.format(level=level), hostile, tmp_path) == "[1]\n"


def test_the_trial_driver_of_doctor_imports_nothing_from_the_current_folder(
    hostile: Path, tmp_path: Path
) -> None:
    assert _run(_DOCTOR, hostile, tmp_path) == "ok\n"


def _run(source: str, current_folder: Path, tmp_path: Path) -> str:
    script = tmp_path / "driver.py"
    script.write_text(source)
    ended = subprocess.run(
        [sys.executable, script],
        cwd=current_folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    ran = tmp_path / "ran"
    assert not ran.exists(), f"imported from the current folder: {ran.read_text()}"
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
