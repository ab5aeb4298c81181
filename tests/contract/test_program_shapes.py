"""R100-R103, R105, R106: programs in the shapes that people bring, on every backend and sandbox level."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gigaexec import (
    ForkserverBackend,
    LokyBackend,
    Outcome,
    OutcomeStatus,
    SandboxPolicy,
    WorkerCall,
    WorkerConfig,
)
from gigaexec.backends.local.base import LocalBackend

KINDS = ("loky", "off", "standard", "strict")


@pytest.fixture(params=KINDS)
def level(request: pytest.FixtureRequest) -> str:
    """A backend, or a level of the sandbox."""
    name: str = request.param
    return name


@pytest.fixture
def backend(level: str) -> Iterator[LocalBackend]:
    """A backend with one worker, so that a reused worker runs all calls of a test."""
    if level == "loky":
        made: LocalBackend = LokyBackend(WorkerConfig(max_workers=1))
    else:
        made = ForkserverBackend(WorkerConfig(max_workers=1, sandbox=SandboxPolicy.named(level)))
    yield made
    made.shutdown_now(wait=True)


def run(backend: LocalBackend, code: str, name: str = "f", *args: Any, **fields: Any) -> Outcome:
    call = WorkerCall(code, name, list(args), **fields)
    return asyncio.run(backend.run(call, deadline_s=60))


def value(backend: LocalBackend, code: str, name: str = "f", *args: Any, **fields: Any) -> Any:
    outcome = run(backend, code, name, *args, **fields)
    assert outcome.ok, outcome.error
    return outcome.value


SPAWNS = """
import multiprocessing as mp
from concurrent.futures import ProcessPoolExecutor
LOADED = __name__
def square(x): return x * x
def f(method):
    with ProcessPoolExecutor(2, mp_context=mp.get_context(method)) as pool:
        return list(pool.map(square, range(4)))
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_r100_child_processes_import_the_program(backend: LocalBackend, level: str, method: str) -> None:
    outcome = run(backend, SPAWNS, "f", method)
    if method == "forkserver" and level in ("standard", "strict"):  # needs a socket, which the sandbox denies
        assert "PermissionError" in str(outcome.error)
    else:
        assert outcome.value == [0, 1, 4, 9], outcome.error


def test_r100_child_processes_import_a_program_from_a_file(backend: LocalBackend, tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("def square(x): return x * x\n")
    own = "from helper import square as helped\ndef square(x): return helped(x), __file__[-7:]"
    code = SPAWNS.replace("def square(x): return x * x", own)
    path = tmp_path / "one.py"
    path.write_text(code)
    expected = [(0, "/one.py"), (1, "/one.py"), (4, "/one.py"), (9, "/one.py")]
    assert value(backend, code, "f", "spawn", file=str(path)) == expected


FINDS_ITSELF = """# marker
import inspect, os, subprocess, sys
def f():
    with open(__file__) as file:
        text = file.read()
    child = subprocess.run([sys.executable, __file__], capture_output=True, text=True)
    found = [inspect.getsourcefile(f), f.__code__.co_filename, inspect.getfile(sys.modules[__name__])]
    return text, set(found) == {__file__}, child.returncode, os.path.isabs(__file__)
"""


def test_r100_a_text_finds_itself_in_a_file(backend: LocalBackend) -> None:
    assert value(backend, FINDS_ITSELF) == (FINDS_ITSELF, True, 0, True)


def test_r100_a_program_from_a_file_keeps_its_path(backend: LocalBackend, tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("41")
    code = (
        "import inspect, pathlib\ndef g(): return 1 / 0\n"
        "def f():\n"
        "    beside = pathlib.Path(__file__).parent / 'data.txt'\n"
        "    return __file__, beside.read_text(), inspect.getsource(g)\n"
    )
    path = tmp_path / "one.py"
    path.write_text(code)
    file = str(path)
    assert value(backend, code, file=file) == (file, "41", "def g(): return 1 / 0\n")
    error = run(backend, code, "g", file=file).error
    assert f'File "{file}", line 2, in g' in str(error)
    assert "Code context (one.py, line 2)" in str(error)


def test_r100_the_main_module_is_not_the_engine_s(backend: LocalBackend) -> None:
    code = """
import sys
def f():
    main = sys.modules['__main__']
    return getattr(main, '__file__', None), main.__spec__, len(vars(main)) < 10
"""
    assert value(backend, code) == (None, None, True)


@pytest.mark.parametrize(
    "code", ["\ufeffdef f(): return 1", "  def f():\n      return 1\n", "\n\t# x\n\tf = lambda: 1"]
)
def test_r101_a_mark_and_an_indentation_are_accepted(backend: LocalBackend, code: str) -> None:
    assert value(backend, code) == 1


@pytest.mark.parametrize("separator", ["\x0c", "\x1c", "\u2028"])
def test_r101_the_marked_line_is_the_failing_line(backend: LocalBackend, separator: str) -> None:
    comment = "" if separator == "\x0c" else "# "
    error = run(backend, f"x = 1\n{comment}{separator}\ndef f():\n    return 1 / 0\ny = 2\n").error
    marked = [line for line in str(error).split("\n") if line.startswith(">")]
    assert marked == ["> 4 |     return 1 / 0"]


STREAMS = """
import io, sys
sys.stdout.reconfigure(encoding="utf-8", line_buffering=True)
sys.stderr = io.TextIOWrapper(sys.stderr.buffer, encoding="utf-8")
def f():
    print("h\\u00e9")
    print("error", file=sys.stderr, flush=True)
    streams = sys.stdin, sys.stdout, sys.stderr
    return [each.seekable() for each in streams[1:]], [each.fileno() for each in streams], sys.stdin.read()
"""


def test_r102_streams_behave_as_pipes(backend: LocalBackend) -> None:
    outcome = run(backend, STREAMS)
    assert outcome.ok, outcome.error
    assert outcome.value == ([False, False], [0, 1, 2], "")
    assert (outcome.output.stdout, outcome.output.stderr) == ("h\u00e9\n", "error\n")


CACHES = """
import logging, multiprocessing.process, tempfile
tempfile.gettempdir()
"""
CACHED = """
import logging, multiprocessing.process, os, tempfile
def f():
    age_ms = logging.LogRecord("n", 10, "p", 1, "m", (), None).relativeCreated
    return age_ms, multiprocessing.process.ORIGINAL_DIR == os.getcwd(), tempfile.gettempdir()
"""


@pytest.mark.parametrize("level", ["off", "standard"])
def test_r102_what_a_preloaded_module_cached_is_the_call_s(level: str, tmp_path: Path) -> None:
    (tmp_path / "caches_for_test.py").write_text(CACHES)
    script = f"""
import json, os, sys, time
from gigaexec import ForkserverBackend, SandboxPolicy, WorkerConfig
from tests.contract.test_program_shapes import CACHED, run
config = WorkerConfig(
    max_workers=1, preload=("caches_for_test",), sandbox=SandboxPolicy.named({level!r})
)
backend = ForkserverBackend(config)
ages = []
env = {{"TMPDIR": sys.argv[1]}} if {level!r} == "off" else {{}}
for _ in range(2):
    outcome = run(backend, CACHED, env=env)
    age, is_folder, place = outcome.value
    ages.append(age)
    time.sleep(0.2)
print(json.dumps([ages, is_folder, place == sys.argv[1] or "scratch" in place]))
backend.shutdown_now(wait=True)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    (first, second), is_folder, is_temporary = json.loads(done.stdout)
    assert second < first + 150, "the second worker counts from the start of its template"
    assert is_folder
    assert is_temporary


def test_r103_the_driver_s_command_line_is_not_visible(level: str) -> None:
    driver = f"""
import sys, gigaexec
from tests.contract.test_program_shapes import run
from gigaexec import ForkserverBackend, LokyBackend, SandboxPolicy, WorkerConfig
level = {level!r}
config = WorkerConfig(max_workers=1, sandbox=SandboxPolicy.named("off" if level == "loky" else level))
backend = (LokyBackend if level == "loky" else ForkserverBackend)(config)
print(run(backend, "import sys\\ndef f(): return sys.argv, sys.orig_argv").value)
backend.shutdown_now(wait=True)
"""
    done = subprocess.run([sys.executable, "-c", driver, "--token", "SECRET"], capture_output=True, text=True)
    assert done.stdout.startswith("([''], "), done.stderr
    assert "SECRET" not in done.stdout


LEAVES_OBJECTS = {
    "replaces stdout by a file on descriptor 1": "import os, sys\nsys.stdout = os.fdopen(1, 'w')",
    "keeps a file on descriptor 2 in a cycle": "import os\nx = [os.fdopen(2, 'w')]\nx.append(x)",
    "keeps a file on descriptor 1 in a library": "import json, os\njson.kept = os.fdopen(1, 'w')",
    "closes descriptor 1 in a finalizer": (
        "import os\nclass A:\n    def __del__(self): os.close(1)\na = A()\na.self = a"
    ),
    "replaces stdout in a finalizer": (
        "import sys\nclass A:\n    def __del__(self): sys.stdout = None\na = A()\na.self = a"
    ),
}


@pytest.mark.parametrize("left", LEAVES_OBJECTS.values(), ids=LEAVES_OBJECTS)
def test_r103_objects_that_a_program_leaves_do_not_break_the_next(backend: LocalBackend, left: str) -> None:
    for _ in range(2):
        run(backend, f"{left}\ndef f(): return 1")
        outcome = run(backend, "def f():\n    print('out', flush=True)\n    return 2")
        assert (outcome.value, outcome.output.stdout) == (2, "out\n"), outcome.error


def test_r103_garbage_is_freed_within_its_own_call(backend: LocalBackend, tmp_path: Path) -> None:
    mark = tmp_path / "freed"
    code = (
        f"class A:\n    def __del__(self): open({str(mark)!r}, 'w').close()\n"
        "def f():\n    a = A()\n    a.self = a\n    return 1"
    )
    if isinstance(backend, LokyBackend):
        assert value(backend, code) == 1
        assert mark.exists()


_BUILTINS = (
    *("len", "sum", "isinstance", "tuple", "list", "bytes", "type", "str", "getattr", "open", "print", "max"),
    *("bool", "Exception", "BaseException", "__import__", "__build_class__", "memoryview", "iter", "map"),
)


def test_r105_a_program_that_replaces_a_builtin_keeps_its_value(backend: LocalBackend) -> None:
    for name in _BUILTINS:
        code = f"import builtins\ndef f():\n    builtins.{name} = lambda *a, **k: 7\n    return [1, 'a']"
        assert value(backend, code) == [1, "a"], name
        assert value(backend, "def f(): return [len('ab')]") == [2], name


_CHANGES = (
    "import pickle; pickle.dumps = pickle.Pickler = None",
    "import os; os.write = os.open = os.getpid = None",
    "import struct, io; struct.pack = io.BytesIO = None",
    "import socket; socket.socket.sendall = None; socket.socket = None",
    "import sys; sys.modules['builtins'].len = None",
    "import json; json.dumps = json.JSONEncoder = None",
    "import traceback, linecache; traceback.TracebackException = linecache.getlines = None",
    "import sys; sys.modules.clear()",
)


def test_r105_a_program_that_breaks_a_library_gets_its_value_and_its_error(backend: LocalBackend) -> None:
    for change in _CHANGES:
        assert value(backend, f"def f():\n    {change}\n    return [1, 'a']") == [1, "a"], change
        outcome = run(backend, f"def f():\n    {change}\n    raise KeyError('mine')")
        assert outcome.status is OutcomeStatus.ERROR, change
        assert "KeyError" in str(outcome.error), change


SHAPES = """
import asyncio
async def later(x):
    await asyncio.sleep(0)
    return x + 1
class Solution:
    def solve(self, x): return x + 2
    async def later(self, x): return x + 3
    class Inner:
        def solve(self, x): return x + 4
"""


@pytest.mark.parametrize(
    ("name", "result"),
    [("later", 2), ("Solution.solve", 3), ("Solution.later", 4), ("Solution.Inner.solve", 5)],
)
def test_r106_async_functions_and_methods(backend: LocalBackend, name: str, result: int) -> None:
    assert value(backend, SHAPES, name, 1) == result


def test_r106_a_generator_is_an_error_that_names_it(backend: LocalBackend) -> None:
    error = run(backend, "def f():\n    yield 1").error
    assert "'f' returned a generator; return a list of its items" in str(error)
