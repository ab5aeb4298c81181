"""`gigaexec.stages`, `.problems` and `.programs` are aliases of packages in `gigaexec.evaluation`."""

from __future__ import annotations

import importlib
from typing import assert_type

import pytest
from tests.process.scripts import json_of_script, run_script

from gigaexec import evaluation, problems, programs, stages

ALIASES = {
    "gigaexec.programs": "gigaexec.evaluation.programs",
    "gigaexec.stages": "gigaexec.evaluation.stages",
    "gigaexec.problems": "gigaexec.evaluation.problems",
}
# The submodules that these paths had before the packages moved.
FORMER_MODULES = {
    "gigaexec.programs": "program source",
    "gigaexec.stages": (
        "description errors executor extras fetch file_function findings function_source models names "
        "pipeline program_function registry results run_time_probe runtime_fitness stage wiring"
    ),
    "gigaexec.problems": "context errors metrics metrics_file numbers pipeline problem yaml_file",
}


@pytest.mark.parametrize(("alias", "package"), ALIASES.items())
def test_an_alias_has_the_names_of_its_package(alias: str, package: str) -> None:
    names, originals = importlib.import_module(alias), importlib.import_module(package)
    assert names.__all__ == originals.__all__
    for name in originals.__all__:
        assert getattr(names, name) is getattr(originals, name)


def test_type_checkers_see_the_names_of_an_alias() -> None:
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
