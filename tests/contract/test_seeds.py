"""Random numbers of a call: independent of other calls, and reproducible with the same seed."""

from __future__ import annotations

from typing import Any

import pytest

from gigaexec import Outcome
from tests.contract.conftest import Kind, Run

_AT_TOP = "import random\nimport numpy as np\ndef f(): return random.random(), float(np.random.rand())"
_INSIDE = """
def f():
    import random
    import numpy as np
    return random.random(), float(np.random.rand())
"""
_CODES = pytest.mark.parametrize("code", [_AT_TOP, _INSIDE], ids=["imported at the top", "inside"])


def _seed(outcome: Outcome) -> int | None:
    assert outcome.metrics is not None, outcome.error
    return outcome.metrics.seed


@_CODES
def test_the_same_seed_gives_the_same_numbers(run: Run, code: str) -> None:
    outcomes = [run(code, seed=seed) for seed in (7, 7, 8, 7 + 2**32, 2**64 - 1)]
    first, again, *others = (outcome.value for outcome in outcomes)
    assert first == again
    for index in (0, 1):
        assert len({value[index] for value in (first, *others)}) == 4, "all 64 bits of the seed must matter"
    assert [_seed(outcome) for outcome in outcomes] == [7, 7, 8, 7 + 2**32, 2**64 - 1]


@_CODES
def test_numbers_without_a_seed_differ_and_a_drawn_seed_repeats_them(run: Run, kind: Kind, code: str) -> None:
    outcomes = [run(code) for _ in range(4)]
    for index in (0, 1):
        assert len({outcome.value[index] for outcome in outcomes}) == 4
    seed = _seed(outcomes[0])
    assert (seed is None) is kind.reuses_workers
    if seed is not None:
        assert run(code, seed=seed).value == outcomes[0].value


@_CODES
def test_a_call_does_not_continue_the_sequence_of_the_call_before(run: Run, code: str) -> None:
    seeded = run(code, seed=7).value
    assert run(code).value != run(code).value
    continued: list[Any] = []
    for _ in range(2):
        assert run(code, seed=7).value == seeded
        continued.append(run(code).value)
    for index in (0, 1):
        assert continued[0][index] != continued[1][index]


def test_numpy_s_generators_keep_their_spec_if_they_are_seeded_at_import(run: Run) -> None:
    code = """
import sys
def f():
    import numpy.random.mtrand as generators
    return generators.__spec__.name, type(sys.meta_path[0]).__module__, [0.0] == list(generators.rand(1))
"""
    assert run(code, seed=7).value[0] == "numpy.random.mtrand"


def test_hashes_in_interpreters_that_the_program_starts_are_seeded(run: Run) -> None:
    code = """
import subprocess, sys
def f(): return subprocess.check_output([sys.executable, "-c", "print(hash('text'))"])
"""
    first, again, other = (run(code, seed=seed).value for seed in (7, 7, 8))
    assert first == again != other
