"""R1, R2, R3: loading a program from source, and calling its function."""

from __future__ import annotations

from pathlib import Path

import pytest

from gigaexec import ExecRunnerError, InvalidCallError, OutcomeStatus, WorkerCall
from tests.contract.conftest import Kind, Run


def test_r1_the_program_is_a_module_named_user_code(run: Run) -> None:
    code = """
import linecache, sys
def f():
    module = sys.modules["user_code"]
    own = module.f is f and f.__module__ == "user_code" == __name__
    return own, __file__ == f.__code__.co_filename, linecache.getline(__file__, 3)
"""
    assert run(code).value == (True, True, "def f():\n")


def test_r1_dataclasses_and_enums_find_their_module(run: Run) -> None:
    code = """
from __future__ import annotations
import dataclasses, enum, typing
class Colour(enum.Enum):
    RED = 1
@dataclasses.dataclass
class Point:
    x: int
    kind: typing.ClassVar[str] = "p"
def f():
    names = [field.name for field in dataclasses.fields(Point)]
    return names, typing.get_type_hints(Point)["x"], Colour.RED.value
"""
    assert run(code).value == (["x"], int, 1)


def test_r1_a_program_is_not_visible_to_the_next(run: Run, kind: Kind) -> None:
    first = run("import sys\nleft = 1\ndef f(): return 1")
    second = run("import linecache\ndef f(): return 'left' in globals(), len(linecache.getlines(__file__))")
    assert second.value == (False, 2)
    assert first.metrics is not None
    assert second.metrics is not None
    assert (first.metrics.worker_id == second.metrics.worker_id) is kind.reuses_workers


def test_r1_a_repeated_program_starts_with_fresh_globals(run: Run) -> None:
    code = "calls = []\ndef f():\n    calls.append(1)\n    return len(calls)"
    assert [run(code).value for _ in range(3)] == [1, 1, 1]


def test_r1_the_engine_s_own_future_imports_do_not_reach_the_program(run: Run) -> None:
    assert run("def g(x: int): pass\ndef f(): return g.__annotations__['x'] is int").value is True


def test_r2_args_and_kwargs_arrive(run: Run) -> None:
    outcome = run(
        "def f(a, *rest, key, **more): return a, rest, key, more", 1, 2, 3, kwargs={"key": 4, "z": 5}
    )
    assert outcome.value == (1, (2, 3), 4, {"z": 5})


def test_r2_the_error_of_a_missing_function_lists_the_defined_names(run: Run) -> None:
    outcome = run("def solve(): pass\nlimit = 3", function="slove")
    assert outcome.status is OutcomeStatus.ERROR
    assert isinstance(outcome.error, ExecRunnerError)
    assert outcome.error.summary == "the program defines no function 'slove'; it defines: solve"


def test_r2_an_object_that_is_not_callable_is_named_with_its_type(run: Run) -> None:
    outcome = run("f = [1]")
    assert outcome.status is OutcomeStatus.ERROR
    assert "expected 'f' of the program to be a function, got type list" in str(outcome.error)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"args": (1, 2)}, "args must be a list"),
        ({"kwargs": [1]}, "kwargs must be a dict"),
        ({"code": b"x"}, "code must be a string"),
        ({"function_name": ""}, "function_name is empty"),
        ({"python_path": "folder"}, "python_path must be a list"),
        ({"env": {"A": 1}}, "env['A'] must be a string"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_r2_a_malformed_call_is_refused_before_anything_starts(fields: dict[str, object], says: str) -> None:
    given: dict[str, object] = {"code": "def f(): pass", "function_name": "f", **fields}
    with pytest.raises(InvalidCallError) as caught:
        WorkerCall(**given)  # type: ignore[arg-type]
    assert says in str(caught.value)


def test_r2_wrong_arguments_are_the_call_s_failure(run: Run) -> None:
    outcome = run("def f(a): pass", 1, 2)
    assert outcome.status is OutcomeStatus.ERROR
    assert "takes 1 positional argument but 2 were given" in str(outcome.error)


def _folder(parent: Path, name: str, **files: str) -> str:
    folder = parent / name
    for file, text in files.items():
        path = folder / (file.replace("__in__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(folder)


def test_r3_python_path_is_first_in_order_without_duplicates(run: Run, tmp_path: Path) -> None:
    first, second = _folder(tmp_path, "one", only="x = 1"), _folder(tmp_path, "two", only="x = 2")
    code = "import only, sys\ndef f(): return sys.path[:3], len(sys.path) - len(set(sys.path)), only.x"
    path, doubles, x = run(code, python_path=[first, second, first]).value
    assert path[:2] == [first, second]
    assert path[2] != first
    assert (doubles, x) == (0, 1)


def test_r3_two_calls_import_their_own_helpers_of_the_same_name(run: Run, tmp_path: Path) -> None:
    folders = [_folder(tmp_path, name, helper=f"NAME = {name!r}") for name in ("one", "two", "three")]
    code = "import helper\ndef f(): return helper.NAME"
    assert [run(code, python_path=[folder]).value for folder in folders] == ["one", "two", "three"]
    assert "No module named 'helper'" in str(run(code).error)


def test_r3_a_rewritten_helper_is_read_again(run: Run, tmp_path: Path) -> None:
    code = "import helper\ndef f(): return helper.X"
    for x in range(3):  # same size and mtime second, so a cached .pyc would seem valid
        folder = _folder(tmp_path, "one", helper=f"X = {x}")
        assert run(code, python_path=[folder]).value == x
    assert [file.name for file in Path(folder).iterdir()] == ["helper.py"]


def test_r3_a_helper_shadows_a_module_that_the_worker_has_loaded(run: Run, tmp_path: Path) -> None:
    folder = _folder(tmp_path, "one", colorsys="NAME = 'mine'", json__in____init__="NAME = 'my json'")
    code = (
        "import colorsys, json\ndef f(): return getattr(colorsys, 'NAME', None), getattr(json, 'NAME', None)"
    )
    assert run(code).value == (None, None)
    assert run(code, python_path=[folder]).value == ("mine", "my json")
    assert run(code).value == (None, None)


def test_r3_a_package_with_submodules_is_dropped_as_a_whole(run: Run, tmp_path: Path) -> None:
    code = "import kit.part\ndef f(): return kit.part.X"
    for name in ("one", "two"):
        folder = _folder(tmp_path, name, kit__in____init__="", kit__in__part=f"X = {name!r}")
        assert run(code, python_path=[folder]).value == name


def test_r3_the_current_directory_is_importable(run: Run, tmp_path: Path) -> None:
    folder = _folder(tmp_path, "here", beside="X = 5")
    assert run(f"import os\nos.chdir({folder!r})\nimport beside\ndef f(): return beside.X").value == 5


def test_r3_a_missing_folder_is_ignored(run: Run, tmp_path: Path) -> None:
    assert run("def f(): return 1", python_path=[str(tmp_path / "nowhere")]).value == 1
