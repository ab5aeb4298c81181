"""R20-R23: safety and lifetime of the files that carry large results."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gigaexec import (
    CallTimeoutError,
    Outcome,
    OutcomeStatus,
    SpillDirectoryError,
    SpillError,
    WorkerCall,
    WorkerConfig,
)
from tests.conftest import wait_until
from tests.contract.conftest import Kind, MakeBackend, Run
from tests.contract.tiny_disk import tiny_disk

_LARGE = "b'x' * 300_000"


# Starts to write its spill file, then blocks until it is killed.
_BLOCKS_DURING_WRITE = f"""
import time
class Slow:
    def __reduce__(self):
        open(MARK, "w").close()
        time.sleep(600)
def f(mark):
    global MARK
    MARK = mark
    return [{_LARGE}, Slow()]
"""


def _spill_files(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir() if file.suffix not in (".lock", ".programs")]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (f"def f(): return {_LARGE}", OutcomeStatus.OK),
        (f"def f():\n    x = {_LARGE}\n    raise ValueError", OutcomeStatus.ERROR),
        (f"def f(): return [{_LARGE}, (n for n in ())]", OutcomeStatus.ERROR),
        (
            f"class Bad:\n    def __reduce__(self): return eval, ('1/0',)\ndef f(): return [{_LARGE}, Bad()]",
            OutcomeStatus.ERROR,
        ),
        (
            "import os\nclass Bad:\n    def __reduce__(self): os._exit(1)\n"
            f"def f(): return [{_LARGE}, Bad()]",
            OutcomeStatus.CRASHED,
        ),
    ],
    ids=["success", "user error", "unpicklable", "unreadable", "crash while writing"],
)
def test_r22_no_spill_file_outlives_its_call(
    run: Run, spill_dir: Path, code: str, status: OutcomeStatus
) -> None:
    assert run(code).status is status
    assert _spill_files(spill_dir) == []


def test_r22_no_spill_file_outlives_a_timeout_during_the_write(
    run: Run, spill_dir: Path, tmp_path: Path
) -> None:
    outcome = run(_BLOCKS_DURING_WRITE, str(tmp_path / "mark"), deadline_s=0.5)
    assert (tmp_path / "mark").exists(), "the call was killed before it started to write the file"
    assert isinstance(outcome.error, CallTimeoutError)
    assert _spill_files(spill_dir) == []


@pytest.mark.parametrize("way", ["cancel", "shutdown"])
def test_r22_no_spill_file_outlives_a_cancellation_or_a_shutdown(
    backend: Any, kind: Kind, spill_dir: Path, tmp_path: Path, way: str
) -> None:
    mark = tmp_path / "mark"

    async def interrupt() -> None:
        call = WorkerCall(_BLOCKS_DURING_WRITE, "f", [str(mark)])
        task = asyncio.create_task(backend.run(call, deadline_s=60))
        await asyncio.to_thread(wait_until, mark.exists)
        assert len(_spill_files(spill_dir)) == kind.names_results
        if way == "cancel":
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert _spill_files(spill_dir) == []
        else:
            await backend.shutdown(wait=True)
            assert list(spill_dir.iterdir()) == []
            assert (await task).status is OutcomeStatus.CANCELLED

    asyncio.run(interrupt())


@pytest.mark.usefixtures("needs_named_results")
def test_r21_a_spill_file_and_its_folder_are_private_to_the_user(
    backend: Any, spill_dir: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"

    async def stat_spill_file() -> os.stat_result:
        task = asyncio.create_task(
            backend.run(WorkerCall(_BLOCKS_DURING_WRITE, "f", [str(mark)]), deadline_s=60)
        )
        await asyncio.to_thread(wait_until, mark.exists)
        (name,) = _spill_files(spill_dir)
        found = (spill_dir / name).lstat()
        task.cancel()
        await asyncio.wait([task])
        return found

    found = asyncio.run(stat_spill_file())
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert stat.S_IMODE(spill_dir.stat().st_mode) == 0o700


@pytest.mark.usefixtures("needs_named_results")
def test_r21_a_symbolic_link_is_not_accepted_as_a_result(run: Run, spill_dir: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"S" * 400_000)
    code = f"""
import glob, os
class Swap:
    def __reduce__(self):
        (path,) = glob.glob(FOLDER + "/*.spill")
        os.unlink(path)
        os.symlink(SECRET, path)
        return int, ()
def f(folder, secret):
    global FOLDER, SECRET
    FOLDER, SECRET = folder, secret
    return [{_LARGE}, Swap()]
"""
    outcome = run(code, str(spill_dir), str(secret))
    assert outcome.status is OutcomeStatus.INFRASTRUCTURE
    assert isinstance(outcome.error, SpillError)
    assert "cannot be opened" in str(outcome.error)
    assert _spill_files(spill_dir) == []
    assert secret.exists()


@pytest.mark.usefixtures("needs_named_results")
def test_r23_a_truncated_file_is_reported(run: Run, spill_dir: Path) -> None:
    code = f"""
import glob, os
class Cut:
    def __reduce__(self):
        (path,) = glob.glob(FOLDER + "/*.spill")
        os.rename(path, path + ".moved")
        open(path, "wb").write(b"short")
        os.unlink(path + ".moved")
        return int, ()
def f(folder):
    global FOLDER
    FOLDER = folder
    return [{_LARGE}, Cut()]
"""
    outcome = run(code, str(spill_dir))
    assert isinstance(outcome.error, SpillError)
    assert "has 5 bytes; the worker wrote 300" in str(outcome.error)
    assert _spill_files(spill_dir) == []


@pytest.mark.parametrize("problem", ["a file", "open to others", "below a file"])
def test_r21_r62_an_unusable_spill_directory_is_refused_before_anything_starts(
    make_backend: MakeBackend, tmp_path: Path, problem: str
) -> None:
    folder = tmp_path / "spill"
    if problem == "open to others":
        folder.mkdir()
        folder.chmod(0o755)
    else:
        folder.touch()
    backend = make_backend(spill_dir=folder / "sub" if problem == "below a file" else folder)
    ended: list[BaseException | None] = []
    backend.on_complete(lambda *event: ended.append(event[2]))
    with pytest.raises(SpillDirectoryError, match="spill directory") as caught:
        asyncio.run(backend.run(WorkerCall("def f(): pass", "f"), deadline_s=5))
    assert str(folder) in str(caught.value)
    assert ended == [caught.value]


_KILLED_DRIVER = """
import os, signal, sys, threading, time
import gigaexec
if __name__ == "__main__":
    threading.Thread(target=gigaexec.run, args=(CODE, "f", MARK), daemon=True).start()
    while not os.path.exists(MARK):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_r22_files_of_a_killed_driver_are_swept_by_the_next_one(
    make_backend: MakeBackend, spill_dir: Path, tmp_path: Path
) -> None:
    script = f"CODE = {_BLOCKS_DURING_WRITE!r}\nMARK = {str(tmp_path / 'mark')!r}\n{_KILLED_DRIVER}"
    killed = subprocess.run([sys.executable, "-c", script], timeout=60)
    assert killed.returncode == -9
    left = {file.name for file in spill_dir.iterdir()}
    assert len(_spill_files(spill_dir)) == 1
    living = make_backend()

    def run_on(backend: Any) -> Outcome:
        outcome: Outcome = asyncio.run(backend.run(WorkerCall("def f(): return 1", "f"), deadline_s=30))
        return outcome

    assert run_on(living).value == 1
    assert not left & {file.name for file in spill_dir.iterdir()}
    own = {file.name for file in spill_dir.iterdir()}
    assert run_on(make_backend()).value == 1
    assert own < {file.name for file in spill_dir.iterdir()}, "the sweep removed files of a living pool"


def test_r20_a_pool_still_works_after_a_full_disk(make_backend: MakeBackend, tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", size_kb=1024) as disk:
        backend = make_backend(spill_dir=disk)

        async def sizes() -> list[OutcomeStatus]:
            call = "def f(size): return bytes(size)"
            outcomes = [
                await backend.run(WorkerCall(call, "f", [size]), deadline_s=30)
                for size in (900_000, 2_000_000, 900_000)
            ]
            await backend.shutdown(wait=True)
            return [outcome.status for outcome in outcomes]

        status = OutcomeStatus
        assert asyncio.run(sizes()) == [status.OK, status.INFRASTRUCTURE, status.OK]


def test_r21_dots_in_the_folder_s_name_are_resolved(tmp_path: Path) -> None:
    assert WorkerConfig(spill_dir=tmp_path / "a" / ".." / "b").spill_dir == tmp_path.resolve() / "b"
