"""R142: backends by name or URL."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from tests.process.scripts import json_of_script, run_script

import gigaexec
from gigaexec import ConfigurationError, WorkerConfig, make_backend, shutdown_executor
from gigaexec.backends.registry import backend_names, redacted_url
from gigaexec.default_backend import resolve_backend

VARIABLE = "GIGAEVO_EXECUTOR_BACKEND"


@pytest.fixture(autouse=True)
def nothing_shared(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv(VARIABLE, raising=False)
    shutdown_executor()
    yield
    shutdown_executor()


@pytest.mark.parametrize(("name", "kind"), [("loky", "LokyBackend"), ("forkserver", "ForkserverBackend")])
def test_r142_a_name_makes_a_backend_with_its_configuration(name: str, kind: str) -> None:
    backend: Any = make_backend(name, WorkerConfig(max_workers=3))
    assert type(backend) is getattr(gigaexec, kind)
    assert backend.max_concurrency == 3
    assert type(make_backend(name)) is type(backend)
    assert make_backend(name) is not backend


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", r"no backend for 'nothing'; known backends: forkserver, loky"),
        ("LOKY", r"no backend for 'LOKY'; known"),
        ("", r"no backend for ''; known"),
        ("ray", r"no backend for 'ray'; known"),
        ("http://host:1", r"no backend for URLs that start with http://; known backends: forkserver, loky"),
        ("https://host", r"https://; known"),
        ("ray://host", r"ray://; known"),
        ("redis://u:secret@host", r"redis://; known"),
        ("loky://u:secret@host", r"backend 'loky' does not take a URL, got loky://\*\*\*@host"),
        ("u:secret@host", r"no backend for '\*\*\*@host'"),
        (3, "backend must be a name, a URL or a backend object, not int"),
    ],
)
def test_r142_an_unknown_backend_is_refused_with_the_known_names_and_no_password(
    name: Any, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message) as refused:
        make_backend(name)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "redacted"),
    [
        ("loky", "loky"),
        ("http://host:80/path", "http://host:80/path"),
        ("http://u:p@host", "http://***@host"),
        ("http://token@host", "http://***@host"),
        ("redis://:p@ss@host:6379/0", "redis://***@host:6379/0"),
        ("http://u:p,q@a,http://u:p@b", "http://***@b"),
        ("http://host/?token=t", "http://host/?***"),
        ("u:p@host", "***@host"),
    ],
)
def test_r142_credentials_are_redacted(url: str, redacted: str) -> None:
    assert redacted_url(url) == redacted


def test_a_shared_backend_is_made_once_for_each_name() -> None:
    loky, forkserver = resolve_backend("loky"), resolve_backend("forkserver")
    assert resolve_backend(None) is resolve_backend("loky") is gigaexec.default_loky_backend() is loky
    assert resolve_backend("forkserver") is forkserver
    assert resolve_backend(forkserver) is forkserver
    shutdown_executor()
    assert resolve_backend("forkserver") is not forkserver


@pytest.mark.parametrize("backend", [5, ["loky"], object()])
def test_something_that_is_no_backend_is_refused(backend: Any) -> None:
    with pytest.raises(ConfigurationError, match="backend must be a name, a URL or a backend object, not"):
        resolve_backend(backend)


def test_r142_the_variable_chooses_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "forkserver")
    assert isinstance(resolve_backend(None), gigaexec.ForkserverBackend)
    assert isinstance(gigaexec.default_loky_backend(), gigaexec.LokyBackend)
    monkeypatch.setenv(VARIABLE, "loky")
    assert isinstance(resolve_backend(None), gigaexec.ForkserverBackend), "the variable is read on first use"
    shutdown_executor()
    assert isinstance(resolve_backend(None), gigaexec.LokyBackend)


@pytest.mark.parametrize("value", ["nothing", "redis://u:secret@host"])
def test_r70_a_bad_default_gives_a_warning_with_the_variable_and_loky(
    value: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(VARIABLE, value)
    with caplog.at_level(logging.WARNING, "gigaexec"):
        assert isinstance(resolve_backend(None), gigaexec.LokyBackend)
        resolve_backend(None)
    (record,) = caplog.records
    assert VARIABLE in record.getMessage()
    assert "known backends: forkserver, loky" in record.getMessage()
    assert "secret" not in record.getMessage()


def test_r118_workers_do_not_see_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "loky")
    assert VARIABLE not in WorkerConfig().worker_environment()


def test_functions_that_run_calls_load_no_backend() -> None:
    script = """
    import json, sys
    from gigaexec import make_backend, map_calls, run_call, run_exec_runner, shutdown_executor, WorkerConfig
    import gigaexec
    gigaexec.run, gigaexec.map
    shutdown_executor(wait=True)
    before = sorted(sys.modules)
    make_backend("loky")
    print(json.dumps([before, sorted(sys.modules)]))
    """
    before, after = json_of_script(script)
    heavy = {"loky", "psutil", "cloudpickle", "numpy", "msgspec", "multiprocessing", "importlib.metadata"}
    assert not heavy & set(before)
    assert {"loky", "psutil"} <= set(after), "the scan detects modules that are loaded"


@pytest.fixture
def package(tmp_path: Path) -> dict[str, str]:
    """Install a package that adds backends; return the environment variables that make it importable."""
    (tmp_path / "other_backends.py").write_text("""
import gigaexec

class Echo:
    url = None
    def __init__(self, config=None):
        self.config = config
    @classmethod
    def from_url(cls, url, config=None):
        made = cls(config)
        made.url = url
        return made
    async def execute(self, call, *, deadline_s):
        return [call.function_name, self.url]
    async def shutdown(self, *, wait=False):
        print("shut down", wait, flush=True)

class Plain:
    async def execute(self, call, *, deadline_s):
        return "plain"
    async def shutdown(self, *, wait=False):
        raise OSError("the connection is gone")
""")
    info = tmp_path / "other_backends-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-backends\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[gigaexec.backends]\n"
        "echo = other_backends:Echo\n"
        "plain = other_backends:Plain\n"
        "loky = other_backends:Echo\n"
        "broken = no_such_module:Backend\n"
        "absent = other_backends:Nothing\n"
    )
    return {"PYTHONPATH": str(tmp_path)}


def test_r142_an_installed_package_adds_backends(package: dict[str, str]) -> None:
    script = """
    import json, gigaexec
    from gigaexec.backends.registry import backend_names
    found = {"names": backend_names(), "errors": []}
    found["by name"] = gigaexec.run("", "f", backend="echo")
    found["by url"] = gigaexec.run("", "g", backend="echo://u:secret@host/0")
    found["config"] = gigaexec.make_backend("echo", gigaexec.WorkerConfig(max_workers=5)).config.max_workers
    found["built in"] = type(gigaexec.make_backend("loky")).__name__
    outcomes = gigaexec.map([gigaexec.WorkerCall("", "h")] * 2, backend="plain")
    found["outcomes"] = [[outcome.status, outcome.value] for outcome in outcomes]
    for name in ("broken", "absent", "broken://u:secret@host", "plain://u:secret@host"):
        try:
            gigaexec.make_backend(name)
        except gigaexec.ConfigurationError as error:
            found["errors"].append(str(error))
    print(json.dumps(found))
    """
    first, *rest = run_script(script, env=package).splitlines()
    found = json.loads(first)
    broken = (
        "backend 'broken' cannot be imported from no_such_module:Backend: ModuleNotFoundError: No module "
    )
    assert found == {
        "names": ["absent", "broken", "echo", "forkserver", "loky", "plain"],
        "errors": [
            f"{broken}named 'no_such_module'",
            "backend 'absent' cannot be imported from other_backends:Nothing: AttributeError: module "
            "'other_backends' has no attribute 'Nothing'",
            f"{broken}named 'no_such_module'",
            "backend 'plain' does not take a URL, got plain://***@host",
        ],
        "by name": ["f", None],
        "by url": ["g", "echo://u:secret@host/0"],
        "config": 5,
        "built in": "LokyBackend",
        "outcomes": [["ok", "plain"], ["ok", "plain"]],
    }
    # Printed at exit. A backend that fails to shut down does not stop the shutdown of the others.
    assert rest == ["shut down True", "shut down True"]


def test_r142_a_package_may_be_the_default_and_is_shut_down_by_shutdown_executor(
    package: dict[str, str],
) -> None:
    script = """
    import asyncio, gigaexec
    async def main():
        print(await gigaexec.run_exec_runner(code="", function_name="f", timeout=5))
        gigaexec.shutdown_executor(wait=True)  # while an event loop runs
        print("and")
    asyncio.run(main())
    """
    printed = run_script(script, env={**package, VARIABLE: "echo://host"})
    assert printed == "['f', 'echo://host']\nshut down True\nand\n"


def test_r142_the_command_line_takes_a_backend_that_a_package_adds(
    package: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text("def f(): pass")
    script = """
    import sys
    from gigaexec.cli.app import run_command_line
    print(run_command_line(["run", sys.argv[1], "-f", "f", "--backend", "echo://host"]))
    """
    printed = run_script(script, str(tmp_path / "program.py"), env=package)
    assert printed == 'shut down True\n["f", "echo://host"]\n0\n'


def test_names_do_not_import_backends(package: dict[str, str]) -> None:
    script = """
    import json, sys
    from gigaexec.backends.registry import backend_names
    print(json.dumps([backend_names(), "other_backends" in sys.modules]))
    """
    names, is_imported = json_of_script(script, env=package)
    assert "echo" in names
    assert not is_imported
    assert backend_names() == ["forkserver", "loky"]
