"""R4, R5, R37: process state at the start of a call is independent of earlier calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gigaexec import OutcomeStatus
from tests.contract.conftest import Kind, Run

_STATE = """
import os, resource, signal, subprocess, sys
def f():
    return {
        "folder": os.getcwd(), "path": list(sys.path), "argv": list(sys.argv),
        "variables": {name: os.environ.get(name) for name in ("GIVEN", "SET", "TMPDIR", "HOME")},
        "child": subprocess.run("echo $GIVEN $SET", shell=True, capture_output=True, text=True).stdout,
        "recursion": sys.getrecursionlimit(), "umask": os.umask(0o22),
        "alarm": signal.getsignal(signal.SIGALRM) is signal.SIG_DFL,
        "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "timer": signal.getitimer(signal.ITIMER_REAL),
    }
"""
_MESS = """
import os, resource, signal, sys
def f(folder):
    os.chdir(folder)
    sys.path.insert(0, folder)
    sys.path = ["/nowhere"]
    sys.argv = ["mess"]
    os.environ["SET"] = "1"
    os.environ.pop("HOME", None)
    os.environ["TMPDIR"] = "/nowhere"
    sys.setrecursionlimit(300)
    os.umask(0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (99, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    signal.signal(signal.SIGALRM, lambda *_: os._exit(9))
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    END
"""


@pytest.mark.parametrize("end", ["return 1", "raise ValueError", "sys.exit(2)"])
def test_r4_r5_state_is_restored_for_the_next_call(run: Run, kind: Kind, tmp_path: Path, end: str) -> None:
    before = run(_STATE)
    mess = run(_MESS.replace("END", end), str(tmp_path), env={"GIVEN": "2", "HOME": "/moon"})
    after = run(_STATE)
    assert mess.status is (OutcomeStatus.OK if end == "return 1" else OutcomeStatus.ERROR)
    assert after.value == before.value
    assert before.metrics is not None
    assert after.metrics is not None
    assert (after.metrics.worker_id == before.metrics.worker_id) is kind.reuses_workers


def test_r5_a_call_may_remove_its_current_folder(run: Run, tmp_path: Path) -> None:
    before = run("import os\ndef f(): return os.getcwd()").value
    code = "import os\ndef f(folder):\n    os.mkdir(folder); os.chdir(folder); os.rmdir(folder)"
    assert run(code, str(tmp_path / "brief")).ok
    assert run("import os\ndef f(): return os.getcwd()").value == before


def test_r4_env_is_set_and_unset_for_the_call_and_its_children(run: Run) -> None:
    code = """
import ctypes, os, subprocess
getenv = ctypes.CDLL(None).getenv
getenv.restype = ctypes.c_char_p
def f():
    shown = subprocess.run("echo $NEW-$HOME", shell=True, capture_output=True, text=True).stdout.strip()
    return os.environ.get("NEW"), os.environ.get("HOME"), getenv(b"NEW"), getenv(b"HOME"), shown
"""
    plain = run(code).value
    assert plain[0] is None
    assert run(code, env={"NEW": "ü 1", "HOME": None}).value == ("ü 1", None, "ü 1".encode(), None, "ü 1-")
    assert run(code).value == plain


def test_r4_env_is_set_before_the_program_is_loaded(run: Run) -> None:
    code = "import os\nAT_IMPORT = os.environ['NEW']\ndef f(): return AT_IMPORT"
    assert run(code, env={"NEW": "now"}).value == "now"


def test_r37_signals_are_python_s_own(run: Run) -> None:
    code = """
import signal
NAMES = "SIGTERM SIGHUP SIGQUIT SIGUSR1 SIGUSR2 SIGCHLD SIGPIPE".split()
def f():
    default = {name: signal.getsignal(getattr(signal, name)) is signal.SIG_DFL for name in NAMES}
    interrupt = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return default, interrupt, signal.pthread_sigmask(signal.SIG_BLOCK, ())
"""
    names = ("SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGCHLD")
    expected: tuple[dict[str, bool], Any, Any] = (
        {**dict.fromkeys(names, True), "SIGPIPE": False},
        True,
        set(),
    )
    assert run(code).value == expected


def test_r37_a_broken_pipe_is_an_exception(run: Run) -> None:
    outcome = run("import os\ndef f():\n    r, w = os.pipe(); os.close(r)\n    os.write(w, b'x')")
    assert outcome.status is OutcomeStatus.ERROR
    assert "BrokenPipeError" in str(outcome.error)


def test_r5_a_reliability_guard_applies_to_its_own_call_only(run: Run, kind: Kind) -> None:
    """Some benchmark programs set dangerous functions to None; the next program needs these functions."""
    guard = """
import builtins, os, shutil, subprocess, sys
def f():
    builtins.exit = builtins.open = builtins.print = builtins.sorted = None
    os.kill = os.remove = os.putenv = os.unlink = os.getcwd = os.chdir = None
    shutil.rmtree = subprocess.Popen = None
    sys.modules["resource"] = sys.modules["colorsys"] = None
    sys.set_int_max_str_digits(640)
    os.mine = builtins.mine = 1
    return 1
"""
    use = """
import builtins, colorsys, os, resource, subprocess, tempfile
def f():
    with tempfile.TemporaryDirectory() as folder:
        open(folder + "/file", "w").close()
        os.remove(folder + "/file")
    subprocess.run(["true"], check=True)
    return hasattr(os, "mine") or hasattr(builtins, "mine"), sorted("ba"), len(str(10**3000))
"""
    guarded = run(guard)
    assert guarded.value == 1
    used = run(use)
    assert used.value == (False, ["a", "b"], 3001), used.error
    assert guarded.metrics is not None
    assert used.metrics is not None
    assert (used.metrics.worker_id == guarded.metrics.worker_id) is kind.reuses_workers


def test_r33_a_forked_child_that_returns_does_not_answer_for_its_parent(run: Run) -> None:
    code = """
import os
def f(n):
    if os.fork() == 0:
        CHILD
    return os.wait()[1], n
"""
    for n in range(3):
        assert run(code.replace("CHILD", "return 'child'"), n).value == (0, n)
        outcome = run(code.replace("CHILD", "raise ValueError('of the child')"), n)
        assert outcome.value == (1 << 8, n)
        assert "ValueError: of the child" in outcome.output.stderr
    assert run("import os\ndef f(): return os.fork()").value > 0
    large = code.replace("CHILD", "return b'x' * 300_000").replace(", n\n", ", b'y' * 300_000\n")
    assert run(large, 0).value == (0, b"y" * 300_000)


class _SeesModules:
    def __reduce__(self) -> tuple[Any, ...]:
        return eval, ("'user_code' in __import__('sys').modules",)


def test_r1_arguments_are_decoded_before_the_program_is_loaded(run: Run) -> None:
    for _ in range(2):
        assert run("def f(seen): return seen", _SeesModules()).value is False
