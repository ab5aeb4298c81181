"""Python code in README.md and docs/ runs in real workers and prints the documented output."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = sorted(
    path
    for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
    if "```python\n" in path.read_text("utf-8")
)
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_EXPECTED = re.compile(r"# -> (.*)$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
_TIMEOUT_S = 90


def script_of(page: Path) -> str:
    """Join a page's code blocks into one script that keeps the page's line numbers, for tracebacks."""
    text = page.read_text("utf-8")
    lines = [""] * (text.count("\n") + 1)
    for block in _BLOCK.finditer(text):
        first = text.count("\n", 0, block.start(1))
        for offset, line in enumerate(block[1].splitlines()):
            lines[first + offset] = line
    return "\n".join(lines)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_code_of_a_page_runs_and_prints_the_documented_lines(page: Path, tmp_path: Path) -> None:
    script = tmp_path / page.with_suffix(".py").name
    script.write_text(script_of(page))
    done = subprocess.run(
        [sys.executable, "-W", "error", script],
        cwd=tmp_path,
        env={**os.environ, "GIGAEXEC_EXAMPLES": str(ROOT / "examples")},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed = done.stdout.splitlines()
    for expected in _EXPECTED.findall(script_of(page)):
        assert expected in printed, f"{expected!r} is not a line of:\n{done.stdout}"
        printed = printed[printed.index(expected) + 1 :]


@pytest.mark.parametrize(
    "page", [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")], ids=lambda page: str(page.relative_to(ROOT))
)
def test_the_relative_links_of_a_page_lead_to_files(page: Path) -> None:
    targets = _LINK.findall(_BLOCK.sub("", page.read_text("utf-8")))
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert not missing
