"""SPEC section 1 and R71: the public names, and imports without side effects."""

from __future__ import annotations

import ast
import builtins
import importlib
from pathlib import Path
from typing import assert_type

import pytest

import gigaexec
from tests.process.scripts import json_of_script

INIT_TREE = ast.parse(Path(gigaexec.__file__).read_text(encoding="utf-8"))

PUBLISHED = {
    *("WorkerCall", "WorkerError", "WorkerResult", "ExecutionMetrics", "WorkerConfig"),
    *("DEFAULT_ENV_WHITELIST", "DEFAULT_ENV_PREFIXES"),
    *("ExecutorBackend", "LifecycleObservable", "LokyBackend"),
    *("ExecRunnerError", "run_exec_runner", "default_loky_backend", "shutdown_executor"),
}


def names_for_type_checkers() -> dict[str, str]:
    """Map each public name to its module, as the TYPE_CHECKING block imports it."""
    (block,) = (
        node
        for node in INIT_TREE.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    return {
        name: str(node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        for name in (error_classes() if alias.name == "*" else [alias.asname or alias.name])
    }


def error_classes() -> list[str]:
    """Return the names that `from gigaexec.errors import *` gives to type checkers."""
    return [
        name
        for name, value in vars(gigaexec.errors).items()
        if isinstance(value, type) and issubclass(value, gigaexec.errors.GigaexecError)
    ]


def lazy_names() -> dict[str, str]:
    """Map each public name to the module that it is loaded from at run time."""
    homes = gigaexec._HOMES
    return {name: module for module, names in homes.items() for name in names}


def test_section_1_every_published_name_is_there() -> None:
    assert lazy_names().keys() >= PUBLISHED


def test_section_1_type_checkers_see_the_names_that_load_at_run_time() -> None:
    assert names_for_type_checkers() == lazy_names()


def test_section_1_type_checkers_see_errors_through_the_star_import() -> None:
    assert_type(gigaexec.SpillError(), gigaexec.errors.SpillError)
    assert_type(gigaexec.MemoryExceededError().hit, gigaexec.LimitHit | None)


@pytest.mark.parametrize("name", sorted(lazy_names()))
def test_section_1_every_name_loads_from_its_home(name: str) -> None:
    assert getattr(gigaexec, name) is getattr(importlib.import_module(lazy_names()[name]), name)


def test_section_1_every_error_is_public() -> None:
    errors = {name for name in vars(gigaexec.errors) if name.endswith("Error") and not name.startswith("_")}
    assert errors == {name for name, module in lazy_names().items() if module == "gigaexec.errors"}


def test_a_star_import_does_not_shadow_builtins() -> None:
    exported = set(gigaexec.__all__)
    assert not exported & set(dir(builtins))
    assert exported == {*lazy_names(), "__version__"} - {"map"}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'gigaexec' has no attribute 'nothing'"):
        _ = gigaexec.nothing
    assert set(dir(gigaexec)) >= set(lazy_names())


def effects_of(statement: str, *, watch_environment: str) -> list[str]:
    """Run a statement in a new process and return its side effects, apart from loaded modules."""
    script = f"""
    import json, os, sys, threading
    seen = []
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT

    def watch(event, args):
        if event == "open" and args[2] & writing:
            seen.append(f"writes {{args[0]}}")
        elif event.startswith(("os.", "subprocess.", "socket.", "shutil.", "tempfile.", "_thread.")):
            if event not in ("os.listdir", "os.scandir"):
                seen.append(event)

    get = os._Environ.__getitem__

    def watched_get(self, name):
        if name.startswith({watch_environment!r}):
            seen.append(f"reads the variable {{name}}")
        return get(self, name)

    os._Environ.__getitem__ = watched_get
    sys.addaudithook(watch)
    {statement}
    threads = [thread.name for thread in threading.enumerate()]
    print(json.dumps(seen + threads[1:]))
    """
    found: list[str] = json_of_script(script, env={"PYTHONDONTWRITEBYTECODE": "1"})
    return found


def test_r71_importing_gigaexec_does_nothing_and_reads_no_environment() -> None:
    assert effects_of("import gigaexec", watch_environment="") == []


def test_r71_loading_every_public_name_starts_nothing_and_reads_no_setting() -> None:
    statement = "import gigaexec; [getattr(gigaexec, name) for name in dir(gigaexec)]"
    assert effects_of(statement, watch_environment="GIGAEVO") == []


@pytest.mark.parametrize(
    ("statement", "effect"),
    [
        ("open('/dev/null', 'w').close()", "writes /dev/null"),
        ("os.environ.get('GIGAEVO_EXECUTOR_MAX_WORKERS')", "reads the variable GIGAEVO_EXECUTOR_MAX_WORKERS"),
        ("os.mkdir(os.environ['GIGAEVO_EXECUTOR_SPILL_DIR'])", "os.mkdir"),
        ("threading.Thread(target=threading.Event().wait, name='stray', daemon=True).start()", "stray"),
    ],
)
def test_r71_the_watch_sees_effects(statement: str, effect: str) -> None:
    assert effect in effects_of(statement, watch_environment="GIGAEVO")


def test_r71_importing_gigaexec_loads_nothing_heavy() -> None:
    loaded = set(json_of_script("import gigaexec, json, sys; print(json.dumps(list(sys.modules)))"))
    heavy = {"loky", "cloudpickle", "numpy", "pydantic", "typer", "rich", "yaml", "psutil", "asyncio"}
    assert "gigaexec" in loaded
    assert not loaded & heavy
