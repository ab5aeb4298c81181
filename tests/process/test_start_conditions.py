"""R33, R62: workers that do not start, or that the driver cannot serve, fail as few calls as possible."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from gigaexec import (
    AnswerLostError,
    ForkserverBackend,
    Limits,
    LokyBackend,
    Outcome,
    OutcomeStatus,
    WorkerCall,
    WorkerConfig,
)
from gigaexec.pool import staffing, worker_channel
from gigaexec.pool.starters import start_failures
from gigaexec.pool.supervision import running_call
from gigaexec.pool.supervision.sampling import sample_tree
from gigaexec.pool.watches import OnEvent, Watches
from gigaexec.wire.descriptors import DescriptorsLostError, receive_with_descriptors, send_with_descriptors
from tests.conftest import wait_until
from tests.process.scripts import command

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: ForkserverBackend and pidfds")

ONE = WorkerCall("def f():\n    return 1", "f")
WAIT_FOR_FILE = """
import os, time
def f(ready, end):
    open(ready, "w").close()
    while not os.path.exists(end):
        time.sleep(0.01)
    return "fine"
"""

Backend = LokyBackend | ForkserverBackend
Make = Callable[..., Any]


@pytest.fixture
def make(spill_dir: Path) -> Iterator[Make]:
    made: list[Backend] = []

    def make_one(kind: type[Backend], **settings: Any) -> Backend:
        backend = kind(WorkerConfig(**{"max_workers": 2, "spill_dir": spill_dir, **settings}))
        made.append(backend)
        return backend

    yield make_one
    for backend in made:
        backend.shutdown_now(wait=True)


@pytest.fixture(autouse=True)
def no_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable a logger: pytest retains log records, and their tracebacks would keep descriptors open."""
    monkeypatch.setattr(staffing.logger, "disabled", True)


@pytest.fixture(params=[LokyBackend, ForkserverBackend])
def kind(request: pytest.FixtureRequest) -> type[Backend]:
    backend: type[Backend] = request.param
    return backend


def run(backend: Backend, call: WorkerCall = ONE, **settings: Any) -> Outcome:
    return asyncio.run(backend.run(call, deadline_s=60, **settings))


def run_beside_a_long_call(
    backend: Backend, folder: Path, disrupt: Callable[[], None], count: int
) -> tuple[list[Outcome], Outcome]:
    """Start one long call, call `disrupt`, run `count` more calls, then let the long call end."""
    ready, end = folder / "ready", folder / "end"

    async def both() -> tuple[list[Outcome], Outcome]:
        call = WorkerCall(WAIT_FOR_FILE, "f", [str(ready), str(end)])
        long = asyncio.create_task(backend.run(call, deadline_s=60))
        while not ready.exists():
            await asyncio.sleep(0.01)
        disrupt()
        outcomes = await asyncio.gather(*(backend.run(ONE, deadline_s=60) for _ in range(count)))
        end.touch()
        return outcomes, await long

    return asyncio.run(both())


def template() -> psutil.Process:
    """Return the only template of this process, the launcher's child."""
    (launcher,) = (
        child
        for child in psutil.Process().children()
        if any("worker.forked.launcher" in part for part in child.cmdline())
    )
    (child,) = launcher.children()
    return child


def init_maker() -> psutil.Process:
    """Return the template's first child, which creates PID namespaces."""
    return min(template().children(), key=lambda child: child.create_time())


def run_as_root_of_a_user_namespace(script: str) -> str:
    """Run a script as root of a new user namespace, where it can set limits, and return its stdout."""
    inside = ["unshare", "--user", "--map-root-user"]
    if subprocess.run([*inside, "true"], capture_output=True, check=False).returncode:
        pytest.skip("user namespaces are not available on this machine")
    ended = subprocess.run(
        [*inside, *command(script)], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.stdout, ended.stderr
    return ended.stdout


def statuses(outcomes: list[Outcome]) -> set[str]:
    return {str(outcome.status) for outcome in outcomes}


def test_r33_a_hanging_template_fails_no_call_while_another_call_runs(make: Make, tmp_path: Path) -> None:
    backend = make(ForkserverBackend, start_timeout_s=8)
    others, long = run_beside_a_long_call(
        backend, tmp_path, lambda: os.kill(template().pid, signal.SIGSTOP), 12
    )
    assert statuses(others) == {"ok"}
    assert (long.status, long.value) == (OutcomeStatus.OK, "fine"), "must end although nobody reaps it"


def test_r33_a_hanging_template_fails_at_most_one_queued_call(make: Make) -> None:
    backend = make(ForkserverBackend, start_timeout_s=8, max_workers=4)
    assert run(backend).value == 1
    os.kill(template().pid, signal.SIGSTOP)

    async def many() -> list[Outcome]:
        return [*await asyncio.gather(*(backend.run(ONE, deadline_s=60) for _ in range(30)))]

    failed = [outcome for outcome in asyncio.run(many()) if not outcome.ok]
    assert len(failed) <= 1
    assert all("a worker process did not start within 8 s" in str(outcome.error) for outcome in failed)


@pytest.mark.parametrize(
    "source",
    [
        "import os\ndef f(): os._exit(3)",
        "import os, time\ndef f():\n    os.closerange(3, 100)\n    time.sleep(1000)",
    ],
)
def test_r33_a_call_that_crashes_under_a_hanging_template_ends_before_its_deadline(
    source: str, make: Make
) -> None:
    backend = make(ForkserverBackend, max_workers=1)
    assert run(backend).value == 1
    os.kill(template().pid, signal.SIGSTOP)
    outcome = run(backend, WorkerCall(source, "f"))
    assert outcome.status is OutcomeStatus.CRASHED
    assert run(backend).value == 1


def test_r33_a_call_sent_to_a_dead_worker_of_a_hanging_template_runs_on_another(make: Make) -> None:
    backend = make(ForkserverBackend, max_workers=1)
    assert run(backend).value == 1
    hanging = template()
    wait_until(lambda: len(hanging.children()) >= 2, what="an idle worker, beside the maker of inits")
    os.kill(hanging.pid, signal.SIGSTOP)
    for worker in sorted(hanging.children(), key=lambda child: child.create_time())[1:]:
        worker.kill()
    assert run(backend).value == 1


def test_r33_a_template_without_free_descriptors_fails_no_call(make: Make, tmp_path: Path) -> None:
    backend = make(ForkserverBackend)

    def leave_no_descriptors() -> None:
        process = template()
        taken = {int(entry.name) for entry in Path(f"/proc/{process.pid}/fd").iterdir()}
        third_free = [number for number in range(len(taken) + 3) if number not in taken][2]
        process.rlimit(psutil.RLIMIT_NOFILE, (third_free + 1, 4096))  # a request carries four descriptors

    others, long = run_beside_a_long_call(backend, tmp_path, leave_no_descriptors, 1)
    assert statuses(others) == {"ok"}, "a worker that was ready must run the call"
    assert (long.status, long.value) == (OutcomeStatus.OK, "fine")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_r33_the_end_of_the_maker_of_inits_fails_no_call(
    number: signal.Signals, make: Make, tmp_path: Path
) -> None:
    backend = make(ForkserverBackend)
    others, long = run_beside_a_long_call(backend, tmp_path, lambda: init_maker().send_signal(number), 6)
    assert statuses(others) == {"ok"}
    assert (long.status, long.value) == (OutcomeStatus.OK, "fine")


def test_r33_a_transient_shortage_of_descriptors_fails_no_call(
    kind: type[Backend], make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = make(kind)
    refused = 0
    socketpair = socket.socketpair

    def refuse_for_a_while(*args: Any) -> Any:
        nonlocal refused
        if threading.current_thread() is not threading.main_thread() and refused < 6:
            refused += 1
            raise OSError(errno.EMFILE, "Too many open files")
        return socketpair(*args)

    monkeypatch.setattr("socket.socketpair", refuse_for_a_while)

    async def many() -> list[Outcome]:
        return [*await asyncio.gather(*(backend.run(ONE, deadline_s=60) for _ in range(20)))]

    assert statuses(asyncio.run(many())) == {"ok"}
    assert refused == 6


def test_r62_a_lasting_shortage_of_descriptors_fails_the_call(
    kind: type[Backend], make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start_failures, "_SHORTAGE_PATIENCE_S", 0.3)
    backend = make(kind)
    socketpair = socket.socketpair

    def refuse(*args: Any) -> Any:
        if threading.current_thread() is threading.main_thread():
            return socketpair(*args)
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("socket.socketpair", refuse)
    outcome = run(backend)
    assert outcome.status is OutcomeStatus.INFRASTRUCTURE
    assert "Too many open files" in str(outcome.error)


def test_r62_templates_that_all_hang_at_their_start_fail_the_call(make: Make, tmp_path: Path) -> None:
    (tmp_path / "hangs_at_import.py").write_text("import time\ntime.sleep(1000)\n")
    sys.path.insert(0, str(tmp_path))
    try:
        backend = make(ForkserverBackend, start_timeout_s=1, preload=("hangs_at_import",))
        outcome = run(backend)
    finally:
        sys.path.remove(str(tmp_path))
    assert outcome.status is OutcomeStatus.INFRASTRUCTURE
    assert "a worker process did not start within 1 s" in str(outcome.error)


def test_r62_workers_that_all_die_at_their_start_under_a_living_template_fail_the_call() -> None:
    script = """
    import asyncio, logging
    from gigaexec import ForkserverBackend, WorkerCall, WorkerConfig
    logging.disable(logging.CRITICAL)
    with open("/proc/sys/user/max_mnt_namespaces", "w") as file:
        file.write("1")  # the template uses the only one, so no worker gets one
    backend = ForkserverBackend(WorkerConfig(max_workers=1))
    outcome = asyncio.run(backend.run(WorkerCall("def f(): return 1", "f"), deadline_s=60))
    backend.shutdown_now(wait=True)
    print(type(outcome.error).__name__, "No space left on device" in str(outcome.error))
    """
    assert run_as_root_of_a_user_namespace(script) == "WorkerStartError True\n"


def test_r33_calls_run_if_only_the_template_gets_a_pid_namespace() -> None:
    script = """
    import asyncio, json, logging, psutil
    from gigaexec import ForkserverBackend, WorkerCall, WorkerConfig
    logging.disable(logging.CRITICAL)
    with open("/proc/sys/user/max_pid_namespaces", "w") as file:
        file.write("1")
    backend = ForkserverBackend(WorkerConfig(max_workers=2))
    call = WorkerCall("import subprocess\\ndef f(): subprocess.Popen(['sleep', '1000']); return 1", "f")

    async def some():
        outcomes = [await backend.run(call, deadline_s=60) for _ in range(6)]
        return [outcome.value for outcome in outcomes], outcomes[0].confinement

    values, steps = asyncio.run(some())
    left = [p for p in psutil.Process().children(recursive=True) if p.name() == "sleep"]
    missing = [step.name for step in steps if not step.held]
    backend.shutdown_now(wait=True)
    print(json.dumps([values, len(left), missing]))
    """
    values, left, missing = json.loads(run_as_root_of_a_user_namespace(script))
    assert values == [1] * 6
    assert left == 0
    assert "pid_namespace" in missing


class _Refusing(selectors.DefaultSelector):
    """A selector that fails to register some descriptors, as if the limit of epoll watches were reached."""

    callback_name = ""
    refusals_left = 0

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        callback = getattr(data, "callback", None)
        if getattr(callback, "__name__", "") == self.callback_name and _Refusing.refusals_left:
            _Refusing.refusals_left -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().register(fileobj, events, data)


@pytest.mark.parametrize("callback_name", ["_on_channel", "_on_output", "_on_exit"])
def test_r33_descriptors_that_cannot_be_watched_fail_no_call_and_are_closed(
    callback_name: str, kind: type[Backend], make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    _Refusing.callback_name, _Refusing.refusals_left = callback_name, 3
    monkeypatch.setattr("gigaexec.pool.dispatcher.selectors.DefaultSelector", _Refusing)
    backend = make(kind, max_workers=1)
    assert run(backend).value == 1
    assert _Refusing.refusals_left == 0
    stopping = threading.Thread(target=lambda: backend.shutdown_now(wait=True), daemon=True)
    stopping.start()
    wait_until(lambda: not stopping.is_alive(), what="shutdown of the pool has not ended")


def test_a_call_that_could_not_be_sent_is_sent_to_another_worker(
    kind: type[Backend], make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    sends = 0

    def refuse_once(connection: Any, *args: Any) -> int:
        nonlocal sends
        sends += 1
        if sends == 1:
            raise OSError(errno.ETOOMANYREFS, "Too many references")
        return send_with_descriptors(connection, *args)

    monkeypatch.setattr(worker_channel, "send_with_descriptors", refuse_once)
    assert run(make(kind)).value == 1
    assert sends == 2


def test_a_lost_answer_is_not_reported_as_a_call_that_never_ran(
    kind: type[Backend], make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    backend = make(kind, max_workers=1)
    assert run(backend).value == 1
    call = WorkerCall("def f(path): open(path, 'w').close()", "f", [str(tmp_path / "ran")])

    def lose_answer(*args: Any) -> tuple[bytes, list[int]]:
        data, descriptors = receive_with_descriptors(*args)
        if b'"result"' in data:
            raise DescriptorsLostError(errno.EMFILE, "no descriptor is free")
        return data, descriptors

    monkeypatch.setattr(worker_channel, "receive_with_descriptors", lose_answer)
    outcome = run(backend, call)
    assert outcome.status is OutcomeStatus.INFRASTRUCTURE
    assert isinstance(outcome.error, AnswerLostError)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("limits", [Limits(cpu_time_s=1.0), Limits(memory_bytes=100 * 2**20)])
def test_earlier_use_of_a_reused_worker_is_not_counted_if_the_first_sample_fails(
    limits: Limits, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = make(LokyBackend, max_workers=1)
    use = """
import time, builtins
def f():
    builtins.kept = b"x" * (300 << 20)
    end = time.process_time() + 1.5
    while time.process_time() < end: pass
"""
    assert run(backend, WorkerCall(use, "f")).ok
    sample_count = 0

    def fail_first(*args: Any) -> Any:
        nonlocal sample_count
        sample_count += 1
        return sample_tree(*args) if sample_count > 1 else None

    monkeypatch.setattr(running_call, "sample_tree", fail_first)
    small = WorkerCall("import time\ndef f():\n    time.sleep(0.3)\n    return 'fine'", "f")
    outcome = run(backend, small, limits=limits)
    assert (outcome.status, outcome.value) == (OutcomeStatus.OK, "fine")
    assert sample_count > 1


def test_r33_a_callback_that_fails_ends_the_call_of_its_worker_only(
    kind: type[Backend], make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    add = Watches.add
    failures = iter(range(1))

    def add_with_failure(self: Watches, number: int, callback: OnEvent) -> None:
        # A plain function: the dispatcher cannot see from the callback which worker it belongs to.
        def fail_once(descriptor: int, events: int) -> None:
            for _ in failures:
                raise ValueError("no number")
            callback(descriptor, events)

        add(self, number, fail_once if callback.__name__ == "_on_channel" else callback)

    monkeypatch.setattr(Watches, "add", add_with_failure)
    backend = make(kind, max_workers=1)
    assert "event" in str(run(backend).error)
    assert run(backend).value == 1
    caplog.clear()  # the traceback refers to descriptors
