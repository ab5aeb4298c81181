"""The documentation site lists every public name in its API reference and explains every requirement."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import gigaexec
import gigaexec.evaluation
import gigaexec.problems
import gigaexec.programs
import gigaexec.stages

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PACKAGES = (gigaexec.stages, gigaexec.problems, gigaexec.programs, gigaexec.evaluation)


def documented_names() -> list[str]:
    pages = sorted((DOCS / "reference" / "api").glob("*.md"))
    return [name for page in pages for name in re.findall(r"^::: (\S+)$", page.read_text("utf-8"), re.M)]


def test_every_public_name_is_in_the_api_reference_once() -> None:
    public = {f"gigaexec.{name}" for name in [*gigaexec.__all__, "map"] if name != "__version__"}
    for package in PACKAGES:
        alias = package.__name__.replace("gigaexec.evaluation.", "gigaexec.")
        public.update(f"{alias}.{name}" for name in package.__all__)
    names = documented_names()
    assert public - set(names) == set()
    assert len(names) == len(set(names))


def test_every_name_of_the_api_reference_exists() -> None:
    for name in documented_names():
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


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


def test_every_link_of_the_readme_works_on_a_package_page_and_leads_to_a_file_of_the_repository() -> None:
    base = "https://github.com/gigaexec/gigaexec/blob/main/"
    for link in re.findall(r"\]\(([^)]+)\)", (ROOT / "README.md").read_text("utf-8")):
        if not link.startswith("#"):
            assert link.startswith(base), link
            assert (ROOT / link.removeprefix(base).partition("#")[0]).exists(), link
