"""Package docstrings that list modules list all modules of the package."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import gigaexec

SOURCE = Path(gigaexec.__file__).parent


PACKAGES = [
    *("untrusted", "sandbox", "wire", "wire/data", "wire/remote"),
    *("worker", "worker/call", "worker/reused", "worker/forked"),
    *("pool", "pool/starters", "pool/supervision", "pool/endings", "pool/files"),
    *("backends", "backends/local"),
]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_is_listed(package: str) -> None:
    docstring = ast.get_docstring(ast.parse((SOURCE / package / "__init__.py").read_text("utf-8"))) or ""
    listed = {line.split()[0] for line in docstring.splitlines() if line}
    packages = {path.parent.name for path in (SOURCE / package).glob("*/__init__.py")}
    modules = {path.stem for path in (SOURCE / package).glob("*.py")} - {"__init__"} | packages
    assert modules - listed == set()
