"""R3, R4, R5: changes of a call to the listed process state are undone before the next call.

The scope changes its own process, so each check runs in a separate process.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.process.scripts import json_of_script

# Changes that a program may make, by name. Each changes something that `state()` reports.
CHANGES = {
    "sets a variable": "os.environ['ADDED'] = '1'",
    "changes a variable": "os.environ['KEPT'] = 'changed'",
    "unsets a variable": "del os.environ['KEPT']",
    "clears the environment": "os.environ.clear()",
    "replaces os.environ": "os.environ = {'A': '1'}",
    "changes the folder": "os.chdir('/')",
    "adds to sys.path": "sys.path.insert(0, '/added')",
    "replaces sys.path": "sys.path = ['/new']",
    "clears sys.path": "sys.path.clear()",
    "replaces sys.argv": "sys.argv = ['other']",
    "changes sys.argv": "sys.argv.append('other')",
    "handles SIGTERM": "signal.signal(signal.SIGTERM, lambda *_: None)",
    "ignores SIGUSR1": "signal.signal(signal.SIGUSR1, signal.SIG_IGN)",
    "lets SIGPIPE kill": "signal.signal(signal.SIGPIPE, signal.SIG_DFL)",
    "ignores SIGINT": "signal.signal(signal.SIGINT, signal.SIG_DFL)",
    "blocks SIGTERM": "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})",
    "sets an alarm": "signal.alarm(1000)",
    "sets a profiling timer": "signal.setitimer(signal.ITIMER_PROF, 1000)",
    "changes the umask": "os.umask(0o027)",
    "traces": "sys.settrace(lambda *_: None)",
    "profiles": "sys.setprofile(lambda *_: None)",
    "traces threads": "threading.settrace(print)",
    "profiles threads": "threading.setprofile(print)",
    "raises the recursion limit": "sys.setrecursionlimit(5000)",
    "stops the garbage collector": "gc.disable()",
    "lowers a soft limit": "resource.setrlimit(resource.RLIMIT_NOFILE, (100, nofile_hard))",
    "replaces a module": "sys.modules['json'] = types.ModuleType('json')",
    "drops a module": "del sys.modules['json']",
    "raises": "raise_it()",
}

SCRIPT_HEAD = """
import gc, json, os, random, resource, signal, subprocess, sys, threading, types
from gigaexec.worker.reused.scope import Baseline, RestoredScope

nofile_hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
signal.signal(signal.SIGINT, signal.SIG_IGN)
os.environ["KEPT"] = "before"
CHANGES = json.loads(sys.argv.pop(1))

def raise_it():
    raise LookupError("it raises")

def state():
    mask = os.umask(0)
    os.umask(mask)
    return {
        "environment": dict(os.environ),
        "kind of environment": type(os.environ).__name__,
        "folder": os.getcwd(),
        "path": list(sys.path),
        "path object": id(sys.path),
        "argv": list(sys.argv),
        "handlers": [repr(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "timers": [signal.getitimer(timer)[0] > 0 for timer in (signal.ITIMER_REAL, signal.ITIMER_PROF)],
        "umask": mask,
        "trace": [repr(sys.gettrace()), repr(sys.getprofile())],
        "thread trace": [repr(threading.gettrace()), repr(threading.getprofile())],
        "recursion limit": sys.getrecursionlimit(),
        "garbage collector": gc.isenabled(),
        "limits": [resource.getrlimit(getattr(resource, n)) for n in dir(resource) if n[:7] == "RLIMIT_"],
        "modules": {name: id(module) for name, module in sys.modules.items()},
    }

def run_in_scope(names, **options):
    scope = RestoredScope(baseline, options.get("python_path", []), options.get("env", {}))
    with scope:
        entered = state()
        try:
            for name in names:
                exec(CHANGES[name])
        except LookupError:
            pass
        changed = [key for key, value in state().items() if value != entered[key]]
    return changed, scope.not_restored

def differences():
    now = state()
    return {key: [before[key], now[key]] for key in before if now[key] != before[key]}

baseline = Baseline()
before = state()
"""


def run_scope_script(body: str, *arguments: str) -> Any:
    return json_of_script(SCRIPT_HEAD + body, json.dumps(CHANGES), *arguments)


@pytest.fixture(scope="module")
def each_change() -> dict[str, Any]:
    """Map each change to the state that it changed, the remaining differences, and unrestored items."""
    body = """
found = {}
for name in CHANGES:
    changed, not_restored = run_in_scope([name])
    found[name] = [changed, differences(), not_restored]
print(json.dumps(found))
"""
    found: dict[str, Any] = run_scope_script(body)
    return found


@pytest.mark.parametrize("name", CHANGES)
def test_r5_a_change_is_restored(name: str, each_change: dict[str, Any]) -> None:
    changed, left, not_restored = each_change[name]
    assert changed or name == "raises", "the change had no effect, so the test proves nothing"
    assert left == {}
    assert not_restored == ""


def test_r5_any_sequence_of_changes_is_restored() -> None:
    body = """
choose = random.Random(7)
for _ in range(200):
    names = choose.sample(list(CHANGES), choose.randint(1, len(CHANGES)))
    run_in_scope(names)
    if differences():
        break
print(json.dumps([names, differences()]))
"""
    names, left = run_scope_script(body)
    assert left == {}, names


def test_r4_the_env_of_a_call_applies_to_that_call_only() -> None:
    body = """
with RestoredScope(baseline, [], {"ADDED": "for the call", "KEPT": None, "ABSENT": None}):
    inside = [os.environ.get("ADDED"), os.environ.get("KEPT"), subprocess.getoutput("echo $ADDED")]
print(json.dumps([inside, differences()]))
"""
    inside, left = run_scope_script(body)
    assert inside == ["for the call", None, "for the call"]
    assert left == {}


def test_r3_python_path_is_first_in_order_without_duplicates(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    body = """
folder = sys.argv.pop(1)
a, b = f"{folder}/a", f"{folder}/b"
before = state()
baseline = Baseline()
sys.path.append(b)
with RestoredScope(baseline, [b, a, b, f"{a}/../a"], {}):
    inside = list(sys.path)
print(json.dumps([inside[:2] == [b, a], inside.count(a), inside.count(b), differences()]))
"""
    assert run_scope_script(body, str(tmp_path)) == [True, 1, 1, {}]


def test_r3_each_call_imports_the_helper_of_its_own_folder(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name / "tools").mkdir(parents=True)
        (tmp_path / name / "helper.py").write_text(f"WHO = {name!r}")
        (tmp_path / name / "tools" / "__init__.py").write_text("")
        (tmp_path / name / "tools" / "part.py").write_text(f"WHO = {name!r}")
    body = """
seen = []
for name in ("first", "second", "first"):
    with RestoredScope(baseline, [f"{sys.argv[1]}/{name}"], {}):
        import helper, tools.part
        seen.append([helper.WHO, tools.part.WHO])
before["modules"] = state()["modules"]
print(json.dumps([seen, sorted(set(sys.modules) & {"helper", "tools", "tools.part"}), differences()]))
"""
    seen, left_modules, left = run_scope_script(body, str(tmp_path))
    assert seen == [["first", "first"], ["second", "second"], ["first", "first"]]
    assert left_modules == []
    assert left == {}


def test_r3_a_module_of_the_worker_that_a_helper_shadows_is_dropped_and_restored(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("WHO = 'the problem'")
    (tmp_path / "sys.py").write_text("WHO = 'nobody'")
    body = """
with RestoredScope(baseline, [sys.argv[1]], {}):
    import json as shadowing
    import sys as still_sys
    inside = [getattr(shadowing, "WHO", None), getattr(still_sys, "WHO", None)]
import json as after
print(json.dumps([inside, after is json, differences()]))
"""
    inside, is_back, left = run_scope_script(body, str(tmp_path))
    assert inside == ["the problem", None], "built-in modules take precedence, as in any Python"
    assert is_back
    assert left == {}


def test_r5_a_hard_limit_that_was_lowered_is_reported() -> None:
    body = """
CHANGES["lowers a hard limit"] = "resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))"
os.setuid(12345) if os.getuid() == 0 else None  # root may raise it again
print(json.dumps(run_in_scope(["lowers a hard limit"])[1]))
"""
    assert run_scope_script(body) == "the program lowered a hard resource limit"


def test_r5_a_removed_current_folder_is_reported(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    body = """
os.chdir(sys.argv[1])
baseline = Baseline()
CHANGES["removes its folder"] = "os.chdir('/'); os.rmdir(sys.argv[1])"
print(json.dumps(run_in_scope(["removes its folder"])[1]))
"""
    assert run_scope_script(body, str(folder)).endswith(
        f"cannot return to its folder {str(folder)!r}: No such file or directory"
    )


def test_r5_a_call_may_end_in_a_removed_folder(tmp_path: Path) -> None:
    body = """
scope = RestoredScope(baseline, [], {})
with scope:
    os.mkdir(sys.argv[1])
    os.chdir(sys.argv[1])
    os.rmdir(sys.argv[1])
print(json.dumps([scope.not_restored, os.getcwd() == before["folder"]]))
"""
    assert run_scope_script(body, str(tmp_path / "gone")) == ["", True]


def test_r37_sigint_reaches_the_program_and_is_ignored_between_calls() -> None:
    body = """
with RestoredScope(baseline, [], {}):
    inside = signal.getsignal(signal.SIGINT) is signal.default_int_handler
print(json.dumps([inside, signal.getsignal(signal.SIGINT) == signal.SIG_IGN]))
"""
    assert run_scope_script(body) == [True, True]
