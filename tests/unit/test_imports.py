"""Import rules: imports follow one order of the parts, and workers load few modules."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gigaexec

SOURCE = Path(gigaexec.__file__).parent

# Each part may import the parts before it. "" is gigaexec/__init__.py, which loads the others on demand.
ORDER = (
    *(
        "module_aliases",
        "untrusted",
        "measured",
        "errors",
        "checks",
        "quantities",
        "limits",
        "calls",
        "hooks",
    ),
    *("sandbox", "wire", "config"),
    *("worker", "pool", "backends", "default_backend", "runner", "sync"),
    *("backend", "data_record", "sandbox_policy"),  # aliases of moved modules
    *("evaluation", "programs", "stages", "problems", "", "cli", "__main__"),
)
# The order of the parts of gigaexec.evaluation.
ORDER_IN_EVALUATION = (
    *("extras", "numbers", "findings", "programs", "stages", "problems"),
    *("record", "verdict", "ranking", "evaluate", ""),
)
# The order of the parts of gigaexec.worker. The two kinds of worker do not import each other.
ORDER_IN_WORKER = ("death", "child_processes", "call", "bootstrap", "reused", "forked", "")
KINDS_OF_WORKER = {"reused", "forked"}
# A worker process must start fast, so its code may import only these parts.
ALLOWED_TO_WORKER = {
    *("worker", "calls", "checks", "errors", "measured", "limits", "untrusted", "sandbox", "wire")
}

# Third-party packages, and the parts of gigaexec that may use them.
THIRD_PARTY = {
    "cloudpickle": {"worker", "wire", "evaluation"},  # a stage's timing probe is sent to the worker
    "loky": {"pool"},
    "msgspec": {"wire"},  # only for the plain-data codec
    "numpy": {"wire"},  # loaded when the first array returns
    "psutil": {"pool", "cli"},
    "pydantic": {"evaluation"},
    "yaml": {"evaluation"},
    "typer": {"cli"},
    "rich": {"cli"},
}


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def part_of(module: str) -> str:
    """Return the part that a module belongs to: `worker` for `gigaexec.worker.reused.loop`."""
    return module.partition(".")[2].partition(".")[0]


def imported(tree: ast.AST) -> Iterator[str]:
    """Return the modules that the code imports at run time, including inside functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for alternative in node.orelse:
                yield from imported(alternative)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: expected an absolute import"
            assert node.module is not None
            if node.module == "gigaexec":
                # The imported name is a submodule or an attribute of the package.
                yield from (f"gigaexec.{alias.name}" for alias in node.names if alias.name in ORDER)
                yield from ("gigaexec" for alias in node.names if alias.name not in ORDER)
            else:
                yield node.module
        else:
            yield from imported(node)


def offences(part: str, source: str) -> list[str]:
    """Return the imports in `source`, a module of `part`, that break the rules."""
    return [name for name in imported(ast.parse(source)) if not is_allowed(part, name)]


def offences_in_evaluation(part: str, source: str) -> list[str]:
    """Return the imports of a module of `gigaexec.evaluation.<part>` that break `ORDER_IN_EVALUATION`."""
    imports = [name for name in imported(ast.parse(source)) if part_of(name) == "evaluation"]
    parts = {name: name.removeprefix("gigaexec.evaluation").strip(".").partition(".")[0] for name in imports}
    place = ORDER_IN_EVALUATION.index(part)
    return [name for name, its_part in parts.items() if ORDER_IN_EVALUATION.index(its_part) > place]


def offences_in_worker(part: str, source: str) -> list[str]:
    """Return the imports of `gigaexec.worker.<part>` that break `ORDER_IN_WORKER` or `KINDS_OF_WORKER`."""
    imports = [name for name in imported(ast.parse(source)) if part_of(name) == "worker"]
    parts = {name: name.removeprefix("gigaexec.worker").strip(".").partition(".")[0] for name in imports}
    place = ORDER_IN_WORKER.index(part)
    return [
        name
        for name, its_part in parts.items()
        if ORDER_IN_WORKER.index(its_part) > place or {part, its_part} == KINDS_OF_WORKER
    ]


def is_allowed(part: str, name: str) -> bool:
    top_level = name.partition(".")[0]
    if top_level in sys.stdlib_module_names:
        return True
    if (part, name) == ("pool", "process_tree"):
        return True  # guard.py runs as a script, so it imports its sibling module without the package name
    if top_level != "gigaexec":
        return part in THIRD_PARTY.get(top_level, ())
    if part == "worker":
        return part_of(name) in ALLOWED_TO_WORKER
    return ORDER.index(part_of(name)) <= ORDER.index(part)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_one_way(path: Path) -> None:
    part = path.relative_to(SOURCE).parts[0].removesuffix(".py").replace("__init__", "")
    assert part in ORDER, f"{part} is missing in ORDER"
    assert offences(part, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "path",
    sorted((SOURCE / "evaluation").rglob("*.py")),
    ids=lambda path: str(path.relative_to(SOURCE / "evaluation")),
)
def test_imports_inside_evaluation_point_one_way(path: Path) -> None:
    part = path.relative_to(SOURCE / "evaluation").parts[0].removesuffix(".py").replace("__init__", "")
    assert offences_in_evaluation(part, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "path",
    sorted((SOURCE / "worker").rglob("*.py")),
    ids=lambda path: str(path.relative_to(SOURCE / "worker")),
)
def test_imports_inside_worker_point_one_way(path: Path) -> None:
    part = path.relative_to(SOURCE / "worker").parts[0].removesuffix(".py").replace("__init__", "")
    assert offences_in_worker(part, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("part", "line", "is_offence"),
    [
        ("call", "from gigaexec.worker.reused.scope import Baseline", True),
        ("call", "def f():\n    import gigaexec.worker.forked.child", True),
        ("forked", "from gigaexec.worker.reused.scope import RestoredStreams", True),
        ("reused", "from gigaexec.worker.forked.inherited import InheritedState", True),
        ("forked", "from gigaexec.worker.call.run import CallRunner", False),
    ],
)
def test_an_import_against_the_arrow_inside_worker_is_seen(part: str, line: str, is_offence: bool) -> None:
    assert bool(offences_in_worker(part, line)) == is_offence


@pytest.mark.parametrize(
    ("part", "line", "is_offence"),
    [
        ("stages", "from gigaexec.evaluation.problems import Problem", True),
        ("problems", "from gigaexec.evaluation.stages import Stage", False),
        ("stages", "from gigaexec.evaluation import rank", True),
        ("programs", "import gigaexec.evaluation.evaluate", True),
        ("verdict", "from gigaexec.errors import CallError", False),
    ],
)
def test_an_import_against_the_arrow_inside_evaluation_is_seen(
    part: str, line: str, is_offence: bool
) -> None:
    assert bool(offences_in_evaluation(part, line)) == is_offence


@pytest.mark.parametrize(
    ("part", "line", "is_offence"),
    [
        ("worker", "from gigaexec.calls import WorkerCall", False),
        ("worker", "from gigaexec.config import WorkerConfig", True),
        ("worker", "def f():\n    import numpy", True),
        ("wire", "import gigaexec.runner", True),
        ("wire", "from gigaexec import runner", True),
        ("evaluation", "from gigaexec import run_call", True),
        ("cli", "from gigaexec import __version__", False),
        ("calls", "try:\n    import pydantic\nexcept ImportError:\n    pass", True),
        ("calls", "if TYPE_CHECKING:\n    from gigaexec.config import WorkerConfig", False),
        ("evaluation", "from gigaexec.stages import Stage", True),
        ("stages", "from gigaexec.evaluation.stages import Stage", False),
    ],
)
def test_an_import_against_the_arrow_is_seen(part: str, line: str, is_offence: bool) -> None:
    assert bool(offences(part, line)) == is_offence


def test_a_worker_loads_msgspec_only_where_results_are_data() -> None:
    importing = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if "msgspec" in imported(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert importing == {"wire/data/encoder.py", "wire/data/decoder.py"}
