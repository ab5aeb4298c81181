"""Check that no module, and no package at any depth, is part of an import cycle."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import gigaexec

SOURCE = Path(gigaexec.__file__).parent

Graph = Mapping[str, set[str]]


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in SOURCE.rglob("*.py")}


def imported(tree: ast.AST) -> Iterator[str]:
    """Return the gigaexec modules that the code imports at run time, including inside functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            yield from imported(node)


def import_graph() -> Graph:
    return {
        name: {each for each in imported(ast.parse(path.read_text("utf-8"))) if each in MODULES} - {name}
        for name, path in MODULES.items()
    }


def merged(graph: Graph, depth: int) -> Graph:
    """Merge modules into packages of `depth` name parts; `gigaexec/__init__` is left out."""

    def unit(name: str) -> str:
        return ".".join(name.split(".")[:depth])

    units: dict[str, set[str]] = {}
    for name, targets in graph.items():
        found = {unit(target) for target in targets} - {unit(name), "gigaexec"}
        units.setdefault(unit(name), set()).update(found)
    return units


def first_cycle(graph: Graph) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        cycle: list[str] = error.args[1]
        return cycle
    return []


@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_no_import_cycle(depth: int) -> None:
    assert first_cycle(merged(import_graph(), depth)) == []


def test_a_cycle_of_packages_is_seen_although_their_modules_form_none() -> None:
    graph = {"gigaexec.a.x": {"gigaexec.b.x"}, "gigaexec.b.x": set(), "gigaexec.b.y": {"gigaexec.a.y"}}
    assert first_cycle(graph) == []
    assert set(first_cycle(merged(graph, 2))) == {"gigaexec.a", "gigaexec.b"}
