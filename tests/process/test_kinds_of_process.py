"""R109: gigaexec works in every kind of process: daemonic, forked, spawned, in threads and in notebooks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.conftest import wait_until
from tests.process.marked import Mark
from tests.process.scripts import run_script

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc; macOS cannot fork safely")

BACKENDS = ["LokyBackend", "ForkserverBackend"]

# A module, because a spawned process imports the function that it runs.
MODULE = """
import asyncio, multiprocessing, os, threading, warnings
import gigaexec

warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of os.fork with threads
EXITS = "import os\\ndef f(): os._exit(3)"

def use(kind):
    backend = getattr(gigaexec, kind)(gigaexec.WorkerConfig(max_workers=2))
    assert gigaexec.run("def f(x): return x + 1", "f", 1, backend=backend) == 2
    try:
        gigaexec.run(EXITS, "f", backend=backend)
    except gigaexec.ExecRunnerError:
        pass
    calls = [gigaexec.WorkerCall("def f(x): return x", "f", [x]) for x in range(4)]
    assert [outcome.value for outcome in gigaexec.map(calls, backend=backend)] == [0, 1, 2, 3]
    return multiprocessing.current_process().daemon

def use_in_process(kind, queue):
    queue.put(use(kind))

def use_in_daemonic_pool(kind, method):
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(use, [kind] * 4, chunksize=1) == [True] * 4

def use_in_pool_that_is_closed(kind):
    pool = multiprocessing.get_context("fork").Pool(2)
    assert pool.map(use, [kind] * 2) == [True] * 2
    pool.close()
    pool.join()

def use_in_child_of_user(kind):
    assert use(kind) is False
    use_in_daemonic_pool(kind, "fork")

def use_in_daemon(kind):
    queue = multiprocessing.SimpleQueue()
    context = multiprocessing.get_context("fork")
    process = context.Process(target=use_in_process, args=(kind, queue), daemon=True)
    process.start()
    assert queue.get() is True
    process.join(30)
    assert process.exitcode == 0

def use_in_grandchild(kind):
    if (child := os.fork()) == 0:
        if (grandchild := os.fork()) == 0:
            use(kind)
            os._exit(0)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))
    assert os.waitpid(child, 0)[1] == 0

def use_in_thread(kind):
    results = []
    thread = threading.Thread(target=lambda: results.append(use(kind)))
    thread.start()
    thread.join()
    assert results == [False]

def use_in_running_loop(kind):
    async def cell():
        return use(kind)
    assert asyncio.run(cell()) is False
"""

USES = {
    "daemonic pool, forked": "use_in_daemonic_pool({kind!r}, 'fork')",
    "daemonic pool, spawned": "use_in_daemonic_pool({kind!r}, 'spawn')",
    "pool that is closed": "use_in_pool_that_is_closed({kind!r})",
    "pool of a process that uses a backend": "use_in_child_of_user({kind!r})",
    "daemon": "use_in_daemon({kind!r})",
    "grandchild": "use_in_grandchild({kind!r})",
    "thread": "use_in_thread({kind!r})",
    "running loop": "use_in_running_loop({kind!r})",
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("kind", BACKENDS)
def test_r109_a_backend_works_and_leaves_no_process(kind: str, use: str, tmp_path: Path) -> None:
    (tmp_path / "uses.py").write_text(MODULE)
    mark = Mark()
    run_script(
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from uses import *; "
        + USES[use].format(kind=kind),
        env=mark.env,
    )
    wait_until(lambda: not mark.pids(), 10.0, "the end of all processes of the script")
