"""R33: shortages and failures around a ForkserverBackend fail as few calls as possible."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from gigaexec import (
    ConfigurationError,
    ForkserverBackend,
    OutcomeStatus,
    SandboxPolicy,
    WorkerCall,
    WorkerConfig,
)
from tests.conftest import wait_until
from tests.process.scripts import run_script

ONE = WorkerCall("def f():\n    return 1", "f")
MakeForkserver = Callable[..., ForkserverBackend]


@pytest.fixture
def make(spill_dir: Path) -> Iterator[MakeForkserver]:
    made: list[ForkserverBackend] = []

    def make_one(**settings: Any) -> ForkserverBackend:
        backend = ForkserverBackend(WorkerConfig(**{"max_workers": 2, "spill_dir": spill_dir, **settings}))
        made.append(backend)
        return backend

    yield make_one
    for backend in made:
        backend.shutdown_now(wait=True)


def launchers() -> list[psutil.Process]:
    """Return the launcher processes that this process started."""
    children = psutil.Process().children()
    return [child for child in children if any("worker.forked.launcher" in part for part in child.cmdline())]


def test_r33_calls_run_where_the_application_ignores_sigchld() -> None:
    run_script(
        """
        import signal
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        import asyncio
        from gigaexec import ForkserverBackend, WorkerCall, WorkerConfig
        async def main():
            backend = ForkserverBackend(WorkerConfig(max_workers=1))
            crash = await backend.run(WorkerCall("import os\\ndef f(): os._exit(3)", "f"), deadline_s=30)
            assert "code 3" in str(crash.error), crash
            assert await backend.execute(WorkerCall("def f(): return 1", "f"), deadline_s=30) == 1
            await backend.shutdown(wait=True)
        asyncio.run(main())
        """
    )


def test_r33_the_death_of_a_template_fails_only_running_calls(make: MakeForkserver) -> None:
    backend = make(max_workers=8)

    async def kill_while_workers_start() -> list[OutcomeStatus]:
        calls = [asyncio.create_task(backend.run(ONE, deadline_s=30.0)) for _ in range(60)]
        while not launchers():
            await asyncio.sleep(0.001)
        launchers()[0].send_signal(signal.SIGKILL)
        return [(await call).status for call in calls]

    statuses = asyncio.run(kill_while_workers_start())
    assert set(statuses) <= {OutcomeStatus.OK, OutcomeStatus.CRASHED}
    assert statuses.count(OutcomeStatus.CRASHED) <= 8, "only calls that were running may crash"


def test_kept_results_hold_no_descriptors(make: MakeForkserver) -> None:
    backend = make()
    call = WorkerCall("import numpy\ndef f(n): return numpy.full(20_000, n)", "f", [7])
    first = asyncio.run(backend.execute(call, deadline_s=30.0))
    before = len(list(Path("/proc/self/fd").iterdir()))
    kept = [first] + [asyncio.run(backend.execute(call, deadline_s=30.0)) for _ in range(20)]
    assert len(list(Path("/proc/self/fd").iterdir())) < before + 10
    assert all((array == 7).all() for array in kept)


def test_many_waiting_calls_with_large_arguments_hold_few_descriptors(make: MakeForkserver) -> None:
    backend = make(max_workers=1)
    array = np.arange(150_000.0)

    async def queue_many() -> tuple[int, list[Any]]:
        calls = [
            asyncio.create_task(
                backend.execute(WorkerCall("def f(a, n): return a[n]", "f", [array, n]), deadline_s=30.0)
            )
            for n in range(120)
        ]
        await asyncio.sleep(0)
        held = len(list(Path("/proc/self/fd").iterdir()))
        return held, list(await asyncio.gather(*calls))

    held, values = asyncio.run(queue_many())
    assert held < 64 + 60
    assert values == list(range(120))


def test_r22_a_removed_spill_directory_is_created_again_for_scratch_folders(
    make: MakeForkserver, spill_dir: Path
) -> None:
    backend = make(sandbox=SandboxPolicy.standard())
    assert asyncio.run(backend.execute(ONE, deadline_s=30.0)) == 1

    def is_removed() -> bool:
        shutil.rmtree(spill_dir, ignore_errors=True)  # the pool may still remove the call's scratch folder
        return not spill_dir.exists()

    wait_until(is_removed)
    outcomes = [asyncio.run(backend.run(ONE, deadline_s=30.0)).status for _ in range(6)]
    assert set(outcomes) <= {OutcomeStatus.OK, OutcomeStatus.INFRASTRUCTURE}, (
        "must not count against the program"
    )
    assert outcomes[-1] is OutcomeStatus.OK


@pytest.mark.parametrize("name", ["read", "write"])
def test_a_spill_directory_that_programs_could_read_is_refused(name: str, tmp_path: Path) -> None:
    policy = SandboxPolicy.standard(**{name: [tmp_path]})
    with pytest.raises(ConfigurationError, match="which confined programs can read"):
        ForkserverBackend(WorkerConfig(spill_dir=tmp_path / "spill", sandbox=policy))


def test_a_folder_that_cannot_be_opened_weakens_no_sandbox_step(make: MakeForkserver, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("top")
    backend = make(sandbox=SandboxPolicy.standard())
    call = WorkerCall("def f(path): return open(path).read()", "f", [str(secret)])
    too_long = "/" + "x" * 300
    outcome = asyncio.run(
        backend.run(
            WorkerCall(call.code, "f", call.args, python_path=[too_long]),
            deadline_s=30.0,
        )
    )
    assert "PermissionError" in str(outcome.error)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
def test_a_scratch_folder_that_its_program_closed_is_removed() -> None:
    run_script(
        """
        import os, tempfile
        from gigaexec.pool.files.scratch import Scratch
        folder = tempfile.mkdtemp()
        os.chown(folder, 65534, 65534)
        os.setgid(65534); os.setuid(65534)
        scratch = Scratch(folder + "/scratch")
        os.makedirs(scratch.path + "/a/b")
        for path in ("/a/b", "/a", ""):
            os.chmod(scratch.path + path, 0)
        scratch.remove()
        assert not os.path.exists(scratch.path)
        os.rmdir(folder)
        """
    )


# Sends descriptors up to the kernel's limit of those in flight, and holds them until a file exists.
HOLD_DESCRIPTORS = """
import errno, os, socket, time
def f(ready, end):
    pair, sent = socket.socketpair(), 0
    pair[0].setblocking(False)
    numbers, pairs = [os.dup(0) for _ in range(100)], [pair]
    try:
        while True:
            try:
                socket.send_fds(pairs[-1][0], [b"x"], numbers)
                sent += 100
            except BlockingIOError:
                pairs.append(socket.socketpair())
                pairs[-1][0].setblocking(False)
    except OSError as error:
        assert error.errno == errno.ETOOMANYREFS, error
    open(ready, "w").close()
    while not os.path.exists(end):
        time.sleep(0.01)
    return sent
"""


def test_r33_a_program_with_all_descriptors_in_flight_fails_no_other_call(
    make: MakeForkserver, tmp_path: Path
) -> None:
    ready, end = tmp_path / "ready", tmp_path / "end"
    backend = make(sandbox=SandboxPolicy.standard(write=[tmp_path]))
    large = WorkerCall("def f(): return b'x' * 3_000_000", "f")

    async def beside_it() -> tuple[int, bytes]:
        hold = WorkerCall(HOLD_DESCRIPTORS, "f", [str(ready), str(end)])
        held = asyncio.create_task(backend.execute(hold, deadline_s=60))
        while not ready.exists():
            await asyncio.sleep(0.01)
        value = await backend.execute(large, deadline_s=30)
        end.touch()
        return await held, value

    sent, value = asyncio.run(beside_it())
    assert sent >= 200
    assert value == b"x" * 3_000_000
