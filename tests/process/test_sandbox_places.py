"""What a confined program may read of folders that hold more than programs."""

from __future__ import annotations

from pathlib import Path

import pytest

import gigaexec
from gigaexec import ConfigurationError, ForkserverBackend, SandboxPolicy, WorkerConfig

_READS = """
import helper

def f(*paths):
    found = [helper.VALUE]
    for path in paths:
        try:
            found.append(open(path).read())
        except OSError as error:
            found.append(type(error).__name__)
    return found
"""


def test_of_the_home_folder_only_modules_can_be_read(
    tmp_path: Path, spill_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "helper.py").write_text("VALUE = 7\n")
    (tmp_path / "notes.txt").write_text("private")
    keys = tmp_path / ".keys"
    keys.mkdir()
    (keys / "key").write_text("secret")
    backend = ForkserverBackend(
        WorkerConfig(max_workers=1, spill_dir=spill_dir, sandbox=SandboxPolicy.standard())
    )
    try:
        places = (str(tmp_path / "notes.txt"), str(keys / "key"))
        found = gigaexec.run(_READS, "f", *places, python_path=[str(tmp_path)], backend=backend)
    finally:
        backend.shutdown_now(wait=True)
    assert found == [7, "PermissionError", "PermissionError"]


@pytest.mark.parametrize("name", ["read", "write"])
def test_a_place_that_does_not_exist_is_refused_at_once(name: str, tmp_path: Path) -> None:
    policy = SandboxPolicy.standard(**{name: [tmp_path / "missing"]})
    with pytest.raises(ConfigurationError, match=f"{name} of the sandbox names .*missing.*does not exist"):
        ForkserverBackend(WorkerConfig(sandbox=policy))
