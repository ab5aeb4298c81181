"""`preload`: modules that workers import before their first call."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gigaexec import Outcome, OutcomeStatus, WorkerCall, WorkerStartError
from tests.contract.conftest import MakeBackend

_LOADED = "import sys\nNAMES = {'colorsys', 'wsgiref.util'} & sys.modules.keys()\ndef f(): return NAMES"


def test_a_preloaded_module_is_imported_before_the_program(make_backend: MakeBackend) -> None:
    backend = make_backend(preload=["colorsys", "wsgiref.util"])
    call = WorkerCall(_LOADED, "f")
    assert asyncio.run(backend.execute(call, deadline_s=30)) == {"colorsys", "wsgiref.util"}
    assert asyncio.run(make_backend().execute(call, deadline_s=30)) == set()


@pytest.mark.parametrize(
    ("source", "expected_texts"),
    [
        (None, ["preload preloaded_by_a_test: no such module"]),
        ("1 / 0", ["ZeroDivisionError", "preloaded_by_a_test.py"]),
        ("import sys; sys.exit('no')", ["SystemExit"]),
        ("print('output', flush=True); import os; os._exit(3)", ["exit code 3"]),
    ],
    ids=["absent", "raises", "exits", "ends its process"],
)
def test_a_module_that_cannot_be_imported_fails_calls_with_the_reason(
    make_backend: MakeBackend,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str | None,
    expected_texts: list[str],
) -> None:
    if source is not None:
        (tmp_path / "preloaded_by_a_test.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    backend = make_backend(preload=["preloaded_by_a_test"])

    async def two() -> list[Outcome]:
        call = WorkerCall("def f(): return 1", "f")
        return list(await asyncio.gather(*(backend.run(call, deadline_s=30) for _ in range(2))))

    for outcome in asyncio.run(two()):
        assert outcome.status is OutcomeStatus.INFRASTRUCTURE
        assert isinstance(outcome.error, WorkerStartError)
        assert not [text for text in expected_texts if text not in str(outcome.error)], str(outcome.error)
