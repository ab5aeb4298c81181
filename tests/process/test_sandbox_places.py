"""Read access of a confined program to folders that also hold unrelated files."""

from __future__ import annotations

from pathlib import Path

import pytest

import gigaexec
from gigaexec import ConfigurationError, ForkserverBackend, SandboxPolicy, WorkerConfig
from tests.process.scripts import run_script

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


def test_only_modules_can_be_read_in_the_home_folder(
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
def test_a_path_that_does_not_exist_is_refused_at_once(name: str, tmp_path: Path) -> None:
    policy = SandboxPolicy.standard(**{name: [tmp_path / "missing"]})
    with pytest.raises(ConfigurationError, match=f"SandboxPolicy.{name} contains .*missing.*does not exist"):
        ForkserverBackend(WorkerConfig(sandbox=policy))


_ONE_CUTS_WHAT_THE_OTHER_RETURNS = """
    import asyncio, os, pathlib, sys
    from gigaexec import ForkserverBackend, SandboxPolicy, WorkerCall, WorkerConfig

    RETURNS = '''
    import os, time
    def f(place):
        import numpy
        from gigaexec.worker.forked import child
        class File:
            place = ""
            def create(self):
                return os.open(f"{place}/result", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            def finish(self, descriptor):
                open(f"{place}/written", "w").close()
                while not os.path.exists(f"{place}/opened"):
                    time.sleep(0.01)
                os.unlink(f"{place}/result")
                return descriptor
        child.UnnamedResultFile = lambda _: File()
        return numpy.ones(1_000_000)
    '''
    CUTS = '''
    import os, time
    def f(place):
        def wait_for(name):
            while not os.path.exists(f"{place}/{name}"):
                time.sleep(0.01)
        wait_for("written")
        # O_PATH, which no lease notices.
        path_only = os.open(f"{place}/result", os.O_PATH)
        open(f"{place}/opened", "w").close()
        wait_for("received")
        os.truncate(f"/proc/self/fd/{path_only}", 0)
        return "cut"
    '''

    async def main(place, spill_dir):
        policy = SandboxPolicy.standard(write=[place])
        backend = ForkserverBackend(WorkerConfig(max_workers=2, spill_dir=spill_dir, sandbox=policy))
        try:
            calls = [WorkerCall(code, "f", [place]) for code in (CUTS, RETURNS)]
            cutting = asyncio.create_task(backend.execute(calls[0], deadline_s=30))
            array = await backend.execute(calls[1], deadline_s=30)
            pathlib.Path(place, "received").touch()
            assert await cutting == "cut"
            print(array.sum())
        finally:
            backend.shutdown_now(wait=True)

    asyncio.run(main(sys.argv[1], pathlib.Path(sys.argv[2])))
"""


def test_no_program_can_change_or_truncate_a_received_result_in_a_shared_folder(
    tmp_path: Path, spill_dir: Path
) -> None:
    assert run_script(_ONE_CUTS_WHAT_THE_OTHER_RETURNS, str(tmp_path), str(spill_dir)).strip() == "1000000.0"
