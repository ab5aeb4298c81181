"""R84, R85: every program of the example problems, evaluated in a real worker."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from gigaexec.backends.local.loky import LokyBackend
from gigaexec.calls import OutcomeStatus, WorkerCall
from gigaexec.config import WorkerConfig
from gigaexec.evaluation.problems import CALL_STAGE, METRICS_STAGE, Problem, build_pipeline, load_context
from gigaexec.evaluation.programs import Program
from gigaexec.evaluation.stages import MetricsOutput, first_failure
from gigaexec.runner import run_call

EXAMPLES = Path(__file__).parents[2] / "examples"
TIMEOUT_S = 100.0
SHORT_TIMEOUT_S = 0.5

OK, ERROR, CRASHED, TIMED_OUT = (
    OutcomeStatus.OK,
    OutcomeStatus.ERROR,
    OutcomeStatus.CRASHED,
    OutcomeStatus.TIMED_OUT,
)


class Fate(NamedTuple):
    """The expected result of a program: status, and minimum score or substring of the reason."""

    status: OutcomeStatus
    least_score: float = math.nan
    reason: str = ""


# Minimum scores have a margin: on a processor that rounds differently, a search takes another path.
FATES = {
    "heilbronn": {
        "annealing": Fate(OK, 0.02),
        "barrier_hops": Fate(OK, 0.03),
        "endless_loop": Fate(TIMED_OUT, reason="timed out after"),
        "exits_quietly": Fate(CRASHED, reason="code 17"),
        "forgotten_bracket": Fate(ERROR, reason="SyntaxError"),
        "mirrored_hops": Fate(OK, 0.033),
        "nan_points": Fate(OK, reason="point 10: nan is not a finite number"),
        "nested_triangles": Fate(OK, 0.0125),
        "outside_the_triangle": Fate(OK, reason="outside the triangle"),
        "print_flood": Fate(OK, 0.004),
        "random_search": Fate(OK, 0.009),
        "segfault": Fate(CRASHED, reason="SIGSEGV"),
        "softmin_ascent": Fate(OK, 0.028),
        "ten_points": Fate(OK, reason="expected 11 points, got 10"),
        "uniform_random": Fate(OK, 0.002),
        "unsolvable_system": Fate(ERROR, reason="Singular matrix"),
    },
    "circle_packing": {
        "centres_only": Fate(OK, reason="expected (x, y, radius)"),
        "endless_loop": Fate(TIMED_OUT, reason="timed out after"),
        "grid_and_one": Fate(OK, 2.5414),
        "honeycomb": Fate(OK, 2.19),
        "lying_numbers": Fate(OK, reason="expected real numbers, got a Radius"),
        "mirrored_hops": Fate(OK, 2.62),
        "misspelt_name": Fate(ERROR, reason="NameError"),
        "nan_radius": Fate(OK, reason="nan is not a finite number"),
        "overlapping": Fate(OK, reason="overlap by"),
        "print_flood": Fate(ERROR, reason="IndexError"),
        "random_growth": Fate(OK, 1.7),
        "rings": Fate(OK, 2.15),
        "segfault": Fate(CRASHED, reason="SIGSEGV"),
        "soap_bubbles": Fate(OK, 2.5),
    },
    "sliding_median": {
        "agrees_with_all": Fate(OK, reason="expected a whole number, got the Agreeable"),
        "bit_by_bit": Fate(OK, 0.1),
        "chatty": Fate(OK, 0.01),
        "drops_the_edge": Fate(OK, reason="expected 29850 medians, got 29849"),
        "endless_loop": Fate(TIMED_OUT, reason="timed out after"),
        "every_third_value": Fate(OK, reason="medians are wrong"),
        "library_median": Fate(OK, 0.01),
        "moving_histogram": Fate(OK, 0.1),
        "nan_edges": Fate(OK, reason="the float nan"),
        "numpy_partition": Fate(OK, 0.1),
        "segfault": Fate(CRASHED, reason="SIGSEGV"),
        "sort_each_window": Fate(OK, 0.01),
        "sorted_window": Fate(OK, 0.1),
        "two_heaps": Fate(OK, 0.1),
        "wrong_key": Fate(ERROR, reason="KeyError: 'width'"),
    },
}


@pytest.fixture
def backend(spill_dir: Path) -> Iterator[LokyBackend]:
    backend = LokyBackend(WorkerConfig(max_workers=1, spill_dir=spill_dir))
    yield backend
    asyncio.run(backend.shutdown(wait=True))


@pytest.mark.parametrize("name", FATES)
def test_r84_an_example_loads_and_every_program_of_it_is_in_the_table(name: str) -> None:
    problem = Problem.load(EXAMPLES / name)
    assert {path.stem for path in problem.initial_programs} == FATES[name].keys()
    assert sum(not math.isnan(fate.least_score) for fate in FATES[name].values()) >= 6


@pytest.mark.parametrize(
    ("problem_name", "program_name"), [(name, program) for name, fates in FATES.items() for program in fates]
)
def test_r84_r85_a_program_of_an_example_ends_as_it_should(
    problem_name: str, program_name: str, backend: LokyBackend
) -> None:
    fate = FATES[problem_name][program_name]
    problem = Problem.load(EXAMPLES / problem_name)
    code = (problem.path / "initial_programs" / f"{program_name}.py").read_text()
    timeout_s = SHORT_TIMEOUT_S if fate.status is TIMED_OUT else TIMEOUT_S

    async def evaluate() -> Any:
        initial = {}
        if problem.context_path:
            initial["context"] = await load_context(problem, backend=backend, timeout_s=TIMEOUT_S)
        pipeline = build_pipeline(problem, timeout_s=timeout_s)
        return await pipeline.run(Program(code=code, name=program_name), backend=backend, initial=initial)

    results = asyncio.run(evaluate())
    outcome, metrics = results[CALL_STAGE].outcome, results[METRICS_STAGE].output
    assert outcome is not None
    assert outcome.status is fate.status
    if math.isnan(fate.least_score):
        failure = first_failure(results)
        assert failure is not None
        assert failure.error is not None
        assert fate.reason in failure.error.message
    else:
        assert isinstance(metrics, MetricsOutput)
        verdict = problem.metrics.judge(metrics.metrics)
        assert verdict.is_valid, verdict.reason
        assert not verdict.out_of_bounds
        assert verdict.values[problem.metrics.primary] >= fate.least_score


CORNERS = [(0.0, 0.0), (1.0, 0.0), (0.5, 3**0.5 / 2)]
ELEVEN = [(0.3 + 0.03 * index, 0.1 + 0.003 * index**2) for index in range(11)]
GRID = [(0.1 + 0.2 * (index % 5), 0.1 + 0.2 * (index // 5), 0.1) for index in range(25)]
PACKED = [*GRID, (0.2, 0.2, 0.1 * (2**0.5 - 1))]


class LyingFloat(float):
    def __lt__(self, other: object) -> bool:
        return False

    def __float__(self) -> float:
        return 0.25


class LyingList(list[Any]):
    def __len__(self) -> int:
        return 11


def replaced(items: list[Any], index: int, item: object) -> list[Any]:
    return [*items[:index], item, *items[index + 1 :]]


@pytest.mark.parametrize(
    ("problem_name", "payload", "reason"),
    [
        ("heilbronn", None, "got a NoneType"),
        ("heilbronn", "0.1 0.2", "got a str"),
        ("heilbronn", LyingList(ELEVEN[:3]), "got a LyingList"),
        ("heilbronn", ELEVEN[:10], "expected 11 points, got 10"),
        ("heilbronn", np.zeros((11, 3)), "point 0: expected a pair"),
        ("heilbronn", np.zeros((11, 2), dtype=complex), "dtype complex128"),
        ("heilbronn", np.full((11, 2), 0.1, dtype=object), "dtype object"),
        ("heilbronn", np.zeros((11, 2), dtype=bool), "dtype bool"),
        ("heilbronn", replaced(ELEVEN, 4, (math.nan, 0.1)), "point 4: nan"),
        ("heilbronn", replaced(ELEVEN, 4, (math.inf, 0.1)), "point 4: inf"),
        ("heilbronn", replaced(ELEVEN, 4, (10**400, 0.1)), "point 4: an integer is too large"),
        ("heilbronn", replaced(ELEVEN, 4, (True, 0.1)), "got a bool"),
        ("heilbronn", replaced(ELEVEN, 4, ("0.3", 0.1)), "got a str"),
        ("heilbronn", replaced(ELEVEN, 4, (LyingFloat(5.0), 0.1)), "got a LyingFloat"),
        ("heilbronn", replaced(ELEVEN, 4, (0.5, -1e-7)), "point 4 at (0.5, -1e-07) lies outside"),
        ("circle_packing", PACKED[:25], "expected 26 circles, got 25"),
        ("circle_packing", replaced(PACKED, 7, (0.5, 0.3)), "circle 7: expected (x, y, radius)"),
        ("circle_packing", replaced(PACKED, 7, (0.5, 0.3, 0.0)), "circle 7: the radius 0 is not positive"),
        ("circle_packing", replaced(PACKED, 7, (0.5, 0.3, -0.1)), "circle 7: the radius -0.1"),
        ("circle_packing", replaced(PACKED, 7, (0.5, 0.3, math.nan)), "circle 7: nan"),
        ("circle_packing", replaced(PACKED, 7, (0.5, 0.3, LyingFloat(0.1))), "got a LyingFloat"),
        (
            "circle_packing",
            replaced(PACKED, 0, (0.1, 0.1, 0.1 + 3e-9)),
            "circle 0 leaves the square by 3e-09",
        ),
        ("circle_packing", replaced(PACKED, 25, (0.2, 0.2, 0.042)), "and 25 overlap by"),
        ("circle_packing", np.array(PACKED).astype(str), "dtype <U"),
    ],
)
def test_r81_a_validator_of_an_example_refuses(
    problem_name: str, payload: object, reason: str, backend: LokyBackend
) -> None:
    outcome = validated(problem_name, [payload], backend)
    assert outcome.status is ERROR
    assert reason in outcome.error.summary


def test_r81_the_tolerance_of_the_packing_gives_no_advantage(backend: LokyBackend) -> None:
    exact = validated("circle_packing", [PACKED], backend).unwrap()["sum_radii"]
    swollen = [(x, y, radius + 4e-10) for x, y, radius in PACKED]
    assert exact == pytest.approx(2.5 + 0.1 * (2**0.5 - 1), abs=1e-12)
    assert validated("circle_packing", [swollen], backend).unwrap()["sum_radii"] <= exact


def test_r81_the_tolerance_of_the_triangle_gives_no_advantage(backend: LokyBackend) -> None:
    below = replaced([*CORNERS, *ELEVEN[3:]], 0, (0.0, -4e-10))
    metrics, artifact = validated("heilbronn", [below], backend).unwrap()
    assert artifact["points"][0][1] >= 0
    first, second, third = (np.array(artifact["points"][index]) for index in artifact["smallest_triangle"])
    area = abs(np.linalg.det([second - first, third - first])) / 2
    assert metrics["min_area"] == pytest.approx(area / (3**0.5 / 4), rel=1e-9)


def test_r84_the_reference_medians_are_those_of_sorting(backend: LokyBackend) -> None:
    values = [int(value) for value in np.random.default_rng(0).integers(0, 40, 500)]
    context = {"values": values, "window": 21}
    medians = [sorted(values[start : start + 21])[10] for start in range(480)]
    assert validated("sliding_median", [context, medians], backend).unwrap() == {"is_valid": 1.0}
    wrong = validated("sliding_median", [context, replaced(medians, 479, medians[479] + 1)], backend)
    assert "1 of 480 medians are wrong; the first at index 479" in wrong.error.summary


def validated(problem_name: str, args: list[Any], backend: LokyBackend) -> Any:
    """Call the validator of the problem in a worker and return the outcome."""
    problem = Problem.load(EXAMPLES / problem_name)
    code = problem.validator_path.read_text()
    call = WorkerCall(code=code, function_name="validate", args=args, python_path=problem.python_path)
    return asyncio.run(run_call(call, deadline_s=TIMEOUT_S, backend=backend))
