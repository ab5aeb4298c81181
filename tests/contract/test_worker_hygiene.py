"""R5, R33: what one program does to the interpreter itself does not reach the next program in that worker."""

from __future__ import annotations

import pytest

from tests.contract.conftest import Run

_PROCESSES = {
    "Pool": """
import multiprocessing
def square(x): return x * x
def f():
    with multiprocessing.Pool(2) as pool:
        return pool.map(square, [1, 2, 3])
""",
    "Process and Queue": """
import multiprocessing
def squares(queue): queue.put([x * x for x in (1, 2, 3)])
def f():
    queue = multiprocessing.Queue()
    process = multiprocessing.Process(target=squares, args=(queue,))
    process.start()
    found = queue.get(timeout=20)
    process.join()
    return found
""",
    "ProcessPoolExecutor": """
from concurrent.futures import ProcessPoolExecutor
def square(x): return x * x
def f():
    with ProcessPoolExecutor(2) as pool:
        return list(pool.map(square, [1, 2, 3]))
""",
}


@pytest.mark.parametrize("kind", _PROCESSES)
def test_r33_a_program_may_use_multiprocessing(run: Run, kind: str) -> None:
    outcome = run(_PROCESSES[kind])
    assert outcome.value == [1, 4, 9], outcome.error


def test_r5_each_program_chooses_its_own_start_method(run: Run) -> None:
    unset = "import multiprocessing as m\ndef f(): return m.get_start_method(allow_none=True)"
    assert run(unset).value is None
    for _ in range(2):
        for method in ("spawn", "fork"):
            code = f"import multiprocessing as m\ndef f():\n    m.set_start_method({method!r})"
            outcome = run(code)
            assert outcome.ok, outcome.error
    assert run(unset).value is None
