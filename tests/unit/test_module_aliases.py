"""Moved modules can still be imported under their former paths."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import assert_type

import pytest

import gigaexec
from gigaexec import SandboxPolicy, backend, evaluation, problems, programs, sandbox_policy, stages
from gigaexec.hooks import HookDispatcher
from tests.process.scripts import json_of_script, run_script

ALIASES = {
    "gigaexec.backend": "gigaexec.backends.contract",
    "gigaexec.backends.forkserver": "gigaexec.backends.local.forkserver",
    "gigaexec.backends.loky": "gigaexec.backends.local.loky",
    "gigaexec.data_record": "gigaexec.wire.data.record",
    "gigaexec.problems": "gigaexec.evaluation.problems",
    "gigaexec.programs": "gigaexec.evaluation.programs",
    "gigaexec.sandbox_policy": "gigaexec.sandbox.policy",
    "gigaexec.stages": "gigaexec.evaluation.stages",
}
# The public names that each former path must still provide.
FORMER_NAMES = {
    "gigaexec.backend": (
        "ExecutorBackend OutcomeBackend LifecycleObservable WorkerObservable HookDispatcher SubmitHandler "
        "CompleteHandler ShutdownHandler WorkerStartHandler WorkerExitHandler"
    ),
    "gigaexec.backends.forkserver": "ForkserverBackend",
    "gigaexec.backends.loky": "LokyBackend",
    "gigaexec.backends.local": "LocalBackend",
    "gigaexec.data_record": "DataRecord",
    "gigaexec.runner": "default_loky_backend map_calls run_call run_exec_runner shutdown_executor",
    "gigaexec.sandbox_policy": "ResultFormat SandboxLevel SandboxPolicy",
}
# The submodules that each former path must still provide.
FORMER_MODULES = {
    "gigaexec.programs": "program source",
    "gigaexec.stages": (
        "description errors executor extras fetch file_function findings function_source models names "
        "pipeline program_function registry results run_time_probe runtime_fitness stage wiring"
    ),
    "gigaexec.problems": "context errors metrics metrics_file numbers pipeline problem yaml_file",
}


@pytest.mark.parametrize(("alias", "original"), ALIASES.items())
def test_an_alias_is_its_original(alias: str, original: str) -> None:
    assert importlib.import_module(alias) is importlib.import_module(original)


@pytest.mark.parametrize("alias", FORMER_NAMES)
def test_an_alias_has_the_names_that_it_had(alias: str) -> None:
    module = importlib.import_module(alias)
    assert [name for name in FORMER_NAMES[alias].split() if not hasattr(module, name)] == []


def test_every_alias_of_the_package_is_tested() -> None:
    modules = Path(gigaexec.__file__).parent.rglob("*.py")
    using = {path for path in modules if "import replace_module" in path.read_text("utf-8")}
    root = Path(gigaexec.__file__).parents[1]
    assert {".".join(path.relative_to(root).with_suffix("").parts) for path in using} == set(ALIASES)


def test_type_checkers_see_the_names_of_an_alias() -> None:
    assert_type(backend.HookDispatcher(), HookDispatcher)
    assert_type(sandbox_policy.SandboxPolicy(), SandboxPolicy)
    assert_type(stages.StageState("failed"), evaluation.stages.StageState)
    assert_type(stages.first_failure({}), evaluation.stages.ProgramStageResult | None)
    assert_type(problems.ProblemError(), evaluation.problems.ProblemError)
    assert_type(programs.Program(""), evaluation.programs.Program)


@pytest.mark.parametrize("alias", FORMER_MODULES)
def test_a_former_path_gives_the_module_and_no_copy_of_it(alias: str) -> None:
    script = f"""
    import importlib, json, sys
    former = [importlib.import_module(f"{alias}.{{name}}") for name in {FORMER_MODULES[alias].split()}]
    import gigaexec.evaluation.evaluate, gigaexec.stages, gigaexec.problems, gigaexec.programs
    loaded = {{id(module): module for name, module in sys.modules.items() if name.startswith("gigaexec")}}
    files = [module.__file__ for module in loaded.values()]
    print(json.dumps({{
        "names": [module.__name__ for module in former],
        "are originals": all(module is sys.modules[module.__name__] for module in former),
        "loaded twice": [file for file in files if files.count(file) > 1],
    }}))
    """
    found = json_of_script(script)
    assert all(name.startswith("gigaexec.evaluation.") for name in found["names"])
    assert found["are originals"]
    assert found["loaded twice"] == []


def test_a_submodule_is_an_attribute_of_the_alias() -> None:
    importlib.import_module("gigaexec.stages.executor")
    assert vars(stages)["executor"] is importlib.import_module("gigaexec.evaluation.stages.executor")


def test_a_module_that_never_was_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("gigaexec.stages.nothing")


def test_evaluation_loads_its_names_on_first_use() -> None:
    for name in evaluation.__all__:
        assert getattr(evaluation, name).__name__ == name
    assert set(dir(evaluation)) >= set(evaluation.__all__)
    with pytest.raises(AttributeError, match=r"module 'gigaexec\.evaluation' has no attribute 'nothing'"):
        _ = evaluation.nothing


def test_programs_need_no_extra() -> None:
    script = """
    import sys
    sys.modules["pydantic"] = sys.modules["yaml"] = None
    from gigaexec.programs import Program
    print(Program(code="", name="p").name)
    """
    assert run_script(script) == "p\n"
