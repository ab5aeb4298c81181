"""The documentation site lists every public name in its API reference and explains every requirement."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

import gigaexec
import gigaexec.backends.contract
import gigaexec.evaluation
import gigaexec.problems
import gigaexec.programs
import gigaexec.stages

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PACKAGES = (gigaexec.stages, gigaexec.problems, gigaexec.programs, gigaexec.evaluation)
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
FILES_URL = "https://github.com/gigaexec/gigaexec/blob/main/"


def documented_names() -> list[str]:
    pages = sorted((DOCS / "reference" / "api").glob("*.md"))
    return [name for page in pages for name in re.findall(r"^::: (\S+)$", page.read_text("utf-8"), re.M)]


def value_of(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def documented_values() -> list[Any]:
    return [value_of(name) for name in documented_names()]


def test_every_public_name_is_in_the_api_reference_once() -> None:
    public = {f"gigaexec.{name}" for name in [*gigaexec.__all__, "map"] if name != "__version__"}
    for package in PACKAGES:
        alias = package.__name__.replace("gigaexec.evaluation.", "gigaexec.")
        public.update(f"{alias}.{name}" for name in package.__all__)
    names = documented_names()
    assert public - set(names) == set()
    assert len(names) == len(set(names))


def test_every_name_of_the_contract_of_backends_is_in_the_api_reference() -> None:
    contract = gigaexec.backends.contract
    source = ast.parse(Path(contract.__file__).read_text("utf-8"))
    classes = {node.name for node in source.body if isinstance(node, ast.ClassDef)}
    hooks = {
        alias.name
        for node in source.body
        if isinstance(node, ast.ImportFrom) and node.module == "gigaexec.hooks"
        for alias in node.names
    }
    documented = {name.rpartition(".")[2] for name in documented_names()}
    assert len(classes) > 3
    assert len(hooks) > 3
    assert {name for name in classes | hooks if not name.startswith("_")} - documented == set()


def test_every_name_of_the_api_reference_exists() -> None:
    for name in documented_names():
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


def test_every_class_of_the_api_reference_comes_with_the_bases_that_give_it_methods() -> None:
    documented = documented_values()
    for value in documented:
        for base in value.__mro__[1:] if isinstance(value, type) else ():
            gives = [name for name in vars(base) if not name.startswith("_")]
            if base.__module__.startswith("gigaexec.") and gives:
                assert base in documented, f"{value.__name__} inherits {gives} of {base.__name__}"


def test_every_name_that_an_example_imports_is_in_the_api_reference() -> None:
    documented = documented_values()
    imported = {
        f"{node.module}.{alias.name}"
        for page in PAGES
        for block in re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gigaexec")
        for alias in node.names
    }
    assert len(imported) > 10
    assert [name for name in sorted(imported) if value_of(name) not in documented] == []


def test_every_requirement_in_the_name_of_a_test_is_explained() -> None:
    explained = set(re.findall(r"^- \*\*R(\d+)\*\*", (DOCS / "requirements.md").read_text("utf-8"), re.M))
    for path in (ROOT / "tests").rglob("test_*.py"):
        for name in re.findall(r"def test_((?:r\d+_)+)", path.read_text("utf-8")):
            missing = set(re.findall(r"r(\d+)_", name)) - explained
            assert not missing, f"{path.name}: {missing} is not in docs/requirements.md"


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8")
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    assert {page for page in pages if f": {page}\n" not in navigation} == set()


def test_every_link_of_the_readme_is_absolute_and_leads_to_a_file_of_the_repository() -> None:
    for link in re.findall(r"\]\(([^)]+)\)", (ROOT / "README.md").read_text("utf-8")):
        if not link.startswith("#"):
            assert link.startswith(FILES_URL), link
            assert (ROOT / link.removeprefix(FILES_URL).partition("#")[0]).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_of_the_repository_names_a_file_and_a_heading_that_exist(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)]+)\)", text):
        target, _, anchor = link.partition("#")
        if target.startswith(FILES_URL):
            path = ROOT / target.removeprefix(FILES_URL)
        elif "://" in target:
            continue
        else:
            path = page.parent / target if target else page
        assert path.exists(), link
        if anchor:
            assert anchor in headings_of(path), link


def headings_of(page: Path) -> set[str]:
    """Return the anchors that GitHub and mkdocs make for the headings of a page."""
    titles = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize(
    ("html", "is_local"),
    [
        ('<a href="https://example.org/">a link</a>', True),
        ('<link rel="stylesheet" href="../assets/main.css"><script src="../assets/main.js"></script>', True),
        ('<link rel="stylesheet" href="https://fonts.example.org/css">', False),
        ('<script src="//cdn.example.org/main.js"></script>', False),
        ('<img src="https://img.example.org/badge.svg">', False),
        ('<div style="background: url(https://img.example.org/a.png)"></div>', False),
        ('<a href="https://github.com/o/r" class="md-source" data-md-component="source">o/r</a>', False),
        ('<pre class="mermaid"></pre>', False),
    ],
)
def test_the_build_warns_of_a_page_that_loads_from_another_host(html: str, is_local: bool) -> None:
    spec = importlib.util.spec_from_file_location("mkdocs_hooks", ROOT / "mkdocs_hooks.py")
    assert spec is not None
    assert spec.loader is not None
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    assert (hooks.loads_from_other_hosts(html) == []) is is_local
