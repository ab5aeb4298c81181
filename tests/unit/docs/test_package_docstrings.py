"""The packages whose docstring lists their modules list all of them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import gigaexec

SOURCE = Path(gigaexec.__file__).parent


@pytest.mark.parametrize("package", ["worker", "worker/confine", "transport", "dispatch", "backends"])
def test_every_module_is_listed(package: str) -> None:
    docstring = ast.get_docstring(ast.parse((SOURCE / package / "__init__.py").read_text("utf-8"))) or ""
    listed = {line.split()[0] for line in docstring.splitlines() if line}
    modules = {path.stem for path in (SOURCE / package).glob("*.py")} - {"__init__"}
    assert modules - listed == set()
