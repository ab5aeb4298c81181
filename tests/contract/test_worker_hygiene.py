"""R5, R33: changes of a program to the interpreter do not affect the next program in that worker."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from gigaexec import OutcomeStatus, ValueNotPicklableError
from tests.contract.conftest import Kind, Run

_PROCESSES = {
    "Pool": """
import multiprocessing
def square(x): return x * x
def f():
    with multiprocessing.Pool(2) as pool:
        return pool.map(square, [1, 2, 3])
""",
    "Process and Queue": """
import multiprocessing
def squares(queue): queue.put([x * x for x in (1, 2, 3)])
def f():
    queue = multiprocessing.Queue()
    process = multiprocessing.Process(target=squares, args=(queue,))
    process.start()
    found = queue.get(timeout=20)
    process.join()
    return found
""",
    "ProcessPoolExecutor": """
from concurrent.futures import ProcessPoolExecutor
def square(x): return x * x
def f():
    with ProcessPoolExecutor(2) as pool:
        return list(pool.map(square, [1, 2, 3]))
""",
}


@pytest.mark.parametrize("way", _PROCESSES)
def test_r33_a_program_may_use_multiprocessing(run: Run, way: str) -> None:
    outcome = run(_PROCESSES[way])
    assert outcome.value == [1, 4, 9], outcome.error


def test_r5_each_program_chooses_its_own_start_method(run: Run) -> None:
    unset = "import multiprocessing as m\ndef f(): return m.get_start_method(allow_none=True)"
    assert run(unset).value is None
    for _ in range(2):
        for method in ("spawn", "fork"):
            code = f"import multiprocessing as m\ndef f():\n    m.set_start_method({method!r})"
            outcome = run(code)
            assert outcome.ok, outcome.error
    assert run(unset).value is None


# Code that breaks something which the engine or imports use -> True if the worker can run another call.
_BREAKAGES = {
    "import pickle; pickle.loads = pickle.dumps = None": True,
    "import cloudpickle; cloudpickle.CloudPickler = cloudpickle.register_pickle_by_value = None": True,
    "import time; time.monotonic_ns = None; time.sleep = print": True,
    "import signal; signal.signal = signal.setitimer = None": True,
    "import threading; threading.enumerate = None": True,
    "import resource; resource.getrusage = resource.getrlimit = None": True,
    "import linecache; linecache.cache = None": True,
    "import gc; gc.enable = None; gc.set_threshold(0); gc.callbacks.append(print)": True,
    "import io, _io; io.open = _io.open = io.TextIOWrapper = None": True,
    "import os; os.getpid = lambda: 1": True,
    "import sys; sys.modules = {}": True,
    "import sys; sys.modules.clear()": True,
    "import sys; sys.meta_path.clear()": True,
    "import sys; sys.path_hooks.clear(); sys.path_importer_cache.clear(); import colorsys": True,
    "import sys; sys.settrace = sys.excepthook = None; sys.tracebacklimit = 0; del sys.version": True,
    "import sys; sys.setswitchinterval(1e5); sys.setrecursionlimit(60)": True,
    "import sys; sys.addaudithook(refuse_imports)": False,
}
_BREAKS = """
def refuse_imports(event, arguments):
    if event == "import":
        raise RuntimeError("no imports")
def f():
    try:
        BREAK
    except ImportError:
        pass
    return 1
"""
_LEANS = """
import gc, pickle, sys, time
sys.modules.pop("colorsys", None)
import colorsys
def f():
    began = time.monotonic()
    time.sleep(0.002)
    slept = time.monotonic() - began >= 0.002
    settings = gc.callbacks, gc.get_threshold(), sys.getswitchinterval(), hasattr(sys, "version")
    return slept, pickle.loads(pickle.dumps(1)), settings, bytes(200_000)
"""


@pytest.mark.parametrize("breakage", _BREAKAGES)
def test_r33_parts_of_the_interpreter_that_a_program_breaks_are_restored(
    run: Run, kind: Kind, breakage: str
) -> None:
    whole = run(_LEANS)
    broken = run(_BREAKS.replace("BREAK", breakage))
    assert broken.value == 1, broken.error
    after = run(_LEANS)
    assert after.value == whole.value, after.error
    report = run("def f():\n    raise ValueError(1)")
    assert "raise ValueError(1)" in str(report.error)
    assert broken.metrics is not None
    assert after.metrics is not None
    goes_on = kind.reuses_workers and _BREAKAGES[breakage]
    assert (after.metrics.worker_id == broken.metrics.worker_id) is goes_on


def test_r33_a_delayed_exit_of_faulthandler_does_not_end_the_next_call(run: Run) -> None:
    code = "import faulthandler\ndef f():\n    faulthandler.dump_traceback_later(0.3, exit=True)"
    assert run(code).ok
    outcome = run("import time\ndef f():\n    time.sleep(0.6)")
    assert outcome.ok, outcome.error


def test_r33_a_crash_is_explained_after_a_program_that_disabled_faulthandler(run: Run) -> None:
    assert run("import faulthandler\ndef f(): faulthandler.disable()").ok
    outcome = run("import ctypes\ndef f(): ctypes.string_at(0)")
    assert "Segmentation fault" in str(outcome.error)


def test_r1_a_program_may_replace_its_module_in_sys_modules(run: Run) -> None:
    swap = "import sys\nclass Lazy:\n    __slots__ = ()\nsys.modules[__name__] = Lazy()\ndef f(): return 1"
    rename = "__name__ = 'mine'\nclass A: pass\ndef f(): return A().__class__.__name__"
    for _ in range(2):
        outcome = run(swap)
        assert outcome.value == 1, outcome.error
        assert run(rename).value == "A"
        assert run("import sys\ndef f(): return sys.modules[__name__].f is f").value is True


@pytest.mark.parametrize(
    "change",
    [
        "sys.stdout.reconfigure(encoding='ascii')",
        "sys.stdout.reconfigure(newline='\\r\\n')",
        "sys.stdout.write = None",
        "sys.stdout.close()",
        "sys.stdout = sys.stderr = None",
        "sys.__stdout__ = sys.stdout.detach()",
        "os.set_blocking(1, False)",
        "os.close(1)",
        "os.dup2(2, 1)",
    ],
)
def test_r6_output_is_captured_after_a_program_that_broke_its_streams(run: Run, change: str) -> None:
    run(f"import os, sys\ndef f(): {change}")
    outcome = run("def f():\n    print('\\N{SNOWMAN}'); print('x' * 1_000_000)")
    assert outcome.ok, outcome.error
    assert outcome.output.stdout.startswith("\N{SNOWMAN}\nx")
    assert outcome.output.stdout_bytes == 1_000_005


@pytest.mark.parametrize(
    ("restriction", "message"),
    [
        ("resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, resource.RLIM_INFINITY))", "RLIMIT_FSIZE"),
        ("KEPT.extend(duplicates())", "no file descriptor was free"),
    ],
)
def test_r20_a_result_that_the_program_s_own_limits_forbid_fails_its_call(
    run: Run, spill_dir: Path, restriction: str, message: str
) -> None:
    code = f"""
import os, resource
KEPT = []
def duplicates():
    while True:
        try:
            yield os.dup(0)
        except OSError:
            return
def f():
    {restriction}
    return bytes(300_000)
"""
    outcome = run(code)
    assert outcome.status is OutcomeStatus.ERROR
    assert isinstance(outcome.error, ValueNotPicklableError)
    assert message in outcome.error.summary
    assert "Free space" not in str(outcome.error)
    assert list(spill_dir.glob("*.spill")) == []
    after = run("def f(): return bytes(300_000)")
    assert after.ok, after.error


def test_r22_an_unpicklable_value_leaves_no_file_when_the_program_broke_os(run: Run, spill_dir: Path) -> None:
    code = """
import os, threading
def f():
    os.unlink = os.close = os.open = os.write = None
    return [bytes(200_000), threading.Lock()]
"""
    outcome = run(code)
    assert isinstance(outcome.error, ValueNotPicklableError)
    assert "lock" in outcome.error.summary
    assert list(spill_dir.glob("*.spill")) == []


# Code that programs often run -> an expression whose value must not change for the next program.
_LIBRARY_CHANGES = {
    "asyncio.run(asyncio.sleep(0))": "kind_of_loop()",
    "asyncio.set_event_loop_policy(Policy())": "type(asyncio.get_event_loop_policy()).__name__",
    "warnings.simplefilter('error')": "warnings.warn('shown')",
    "decimal.getcontext().prec = 3": "str(decimal.Decimal(1) / 3)",
    "locale.setlocale(locale.LC_ALL, 'C')": "locale.setlocale(locale.LC_ALL)",
    "logging.basicConfig(level=10); logging.disable(50)": "[logging.root.handlers, enabled()]",
    "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})": "os.sched_getaffinity(0)",
    "tracemalloc.start(5)": "tracemalloc.is_tracing()",
    "os.environ['TZ'] = 'XYZ-7'; time.tzset()": "time.localtime(0)[:6], time.tzname",
    "os.nice(3)": "os.nice(0)",
    "json.dumps = lambda *a: 'x'": "json.dumps([1])",
    "math.sqrt = math.pi = None": "math.sqrt(4), math.pi",
    "setattr(importlib.import_module('textwrap'), 'dedent', None)": "textwrap.dedent(' a')",
    "sys.modules['not_there'] = types.ModuleType('not_there')": "importable('not_there')",
    "logging.getLogger('app').addHandler(logging.StreamHandler())": "logging.getLogger('app').handlers",
    "logging.getLogger('app').setLevel(10)": "logging.getLogger('app').level",
    "socket.setdefaulttimeout(0.01)": "socket.getdefaulttimeout()",
    "copyreg.pickle(complex, lambda c: 1 / 0)": "copyreg.dispatch_table.get(complex) is None, 2j",
    "decimal.DefaultContext.prec = 5": "decimal.DefaultContext.prec",
}
_CHANGE_HEAD = """
import asyncio, copyreg, decimal, importlib, json, locale, logging, math, os, socket, sys, textwrap, time
import tracemalloc, types, warnings
class Policy(asyncio.DefaultEventLoopPolicy): pass
def importable(name):
    try:
        return bool(importlib.import_module(name))
    except ImportError:
        return False
def enabled(): return logging.getLogger("any").isEnabledFor(30)
def kind_of_loop():
    try:
        return type(asyncio.get_event_loop()).__name__
    except RuntimeError:  # since Python 3.14 it makes none
        return ""
"""


@pytest.mark.parametrize("change", _LIBRARY_CHANGES)
def test_r5_library_state_that_a_program_changes_is_restored(run: Run, kind: Kind, change: str) -> None:
    shown = f"{_CHANGE_HEAD}def f(): return {_LIBRARY_CHANGES[change]}"
    alone = run(shown)
    assert alone.ok, alone.error
    done = run(f"{_CHANGE_HEAD}def f():\n    {change}\n    return {_LIBRARY_CHANGES[change]}")
    after = run(shown)
    assert after.ok, after.error
    assert after.value == alone.value
    assert done.metrics is not None
    assert after.metrics is not None
    # An unprivileged user cannot restore the priority, so the worker is replaced.
    goes_on = kind.reuses_workers and not change.startswith("os.nice")
    assert (after.metrics.worker_id == done.metrics.worker_id) is goes_on


@pytest.mark.usefixtures("needs_reuse")
def test_r5_a_program_that_loads_and_changes_a_library_retires_the_worker(run: Run) -> None:
    first = run(
        "import colorsys\ndef hls_to_rgb(*a): return 0\ncolorsys.hls_to_rgb = hls_to_rgb\ndef f(): return 1"
    )
    second = run("import colorsys\ndef f(): return colorsys.hls_to_rgb(0, 1, 0)")
    assert second.value == (1, 1, 1)
    assert first.metrics is not None
    assert second.metrics is not None
    assert first.metrics.worker_id != second.metrics.worker_id


@pytest.mark.parametrize(
    "head",
    [
        "import sys\nsys.path.insert(0, {!r})",
        "import os\nos.chdir({!r})",
        "import os, sys\nsys.path = [{!r}]",
    ],
)
def test_r3_modules_of_a_folder_that_the_program_makes_importable_are_unloaded(
    run: Run, tmp_path: Path, head: str
) -> None:
    for name in "ab":
        package = tmp_path / name / "whose"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("from whose.part import Mine")
        (package / "part.py").write_text(f"class Mine:\n    NAME = {name!r}")
        (tmp_path / name / "helper.py").write_text(f"NAME = {name!r}")
    for name in "aba":
        code = (
            head.format(str(tmp_path / name))
            + "\nimport helper, whose\ndef f(): return helper.NAME, whose.Mine()"
        )
        outcome = run(code)
        assert outcome.ok, outcome.error
        helper_name, mine = outcome.value
        assert (helper_name, mine.NAME) == (name, name)
    left = run("import sys\ndef f(): return sorted(set(sys.modules) & {'helper', 'whose', 'whose.part'})")
    assert left.value == []


@pytest.mark.usefixtures("needs_reuse")
def test_r3_modules_that_every_call_can_import_stay_loaded(run: Run) -> None:
    code = "import colorsys, numpy.linalg, wsgiref.util, zoneinfo, yaml\ndef f(): pass"
    first = run(code)
    assert first.ok, first.error
    names = "{'colorsys', 'numpy', 'numpy.linalg', 'wsgiref.util', 'zoneinfo', 'yaml'}"
    second = run(f"import sys\ndef f(): return {names} - sys.modules.keys()")
    assert second.value == set()
    assert first.metrics is not None
    assert second.metrics is not None
    assert first.metrics.worker_id == second.metrics.worker_id


def test_r5_an_extension_module_in_a_folder_of_the_program_retires_the_worker(
    run: Run, tmp_path: Path
) -> None:
    """Many extension modules can be loaded only once in a process."""
    original = importlib.util.find_spec("_json")
    assert original is not None
    assert original.origin is not None
    if not Path(original.origin).exists():
        pytest.skip("this Python builds _json into the interpreter")
    (tmp_path / Path(original.origin).name).symlink_to(original.origin)
    code = f"""
import sys
sys.modules.pop("_json", None)
sys.path.insert(0, {str(tmp_path)!r})
import _json
def f(): return _json.__file__
"""
    first, second = run(code), run(code)
    assert first.value.startswith(str(tmp_path)), first.error
    assert second.metrics is not None
    assert first.metrics is not None
    assert first.metrics.worker_id != second.metrics.worker_id
