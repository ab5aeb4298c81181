"""R85: the metrics that make a program valid, and the metrics of an invalid program."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from gigaexec.evaluation.numbers import finite_float
from gigaexec.evaluation.problems.metrics import MetricSpec, MetricsSpec, default_sentinel

AREA = MetricSpec("area", is_primary=True, lower_bound=0.0, upper_bound=0.04, sentinel_value=-1.0)
STEPS = MetricSpec(
    "steps", decimals=0, unit="steps", higher_is_better=False, sentinel_value=default_sentinel(False)
)
SPEC = MetricsSpec({"area": AREA, "steps": STEPS})


def test_r85_a_valid_program_keeps_its_specified_and_other_metrics() -> None:
    verdict = SPEC.judge({"note": "fast", "extra": np.float32(0.5), "steps": 7, "area": 0.03})
    assert verdict.is_valid
    assert verdict.reason == ""
    assert list(verdict.values.items()) == [("area", 0.03), ("steps", 7.0), ("note", "fast"), ("extra", 0.5)]
    assert verdict.out_of_bounds == {}


@pytest.mark.parametrize(
    ("metrics", "reason"),
    [
        ({"area": 0.03}, "the metric steps is missing"),
        ({"area": math.nan, "steps": 1}, "the metric area is nan, not a finite number"),
        ({"area": -math.inf, "steps": 1}, "the metric area is -inf, not a finite number"),
        ({"area": "0.03", "steps": 1}, "the metric area is '0.03' (str), not a finite number"),
        ({"area": None, "steps": 1}, "the metric area is None (NoneType), not a finite number"),
        ({"area": np.array([0.03]), "steps": 1}, "the metric area is array([0.03]) (ndarray), not a"),
        ({"area": 10**400, "steps": 1}, "(int), not a finite number"),
        ({"area": 0.03, "steps": 1, "is_valid": 0}, "the validator set is_valid to 0"),
        ({"area": 0.03, "steps": 1, "is_valid": np.False_}, "the validator set is_valid to 0"),
        ({"area": 0.03, "steps": 1, "is_valid": None}, "the metric is_valid is None"),
    ],
)
def test_r85_an_invalid_program_gets_every_sentinel_and_the_reason(
    metrics: dict[str, Any], reason: str
) -> None:
    verdict = SPEC.judge({**metrics, "extra": 2})
    assert not verdict.is_valid
    assert reason in verdict.reason
    assert "\n" not in verdict.reason
    assert {**verdict.values, "is_valid": 0} == {"area": -1.0, "steps": 1e5, "extra": 2.0, "is_valid": 0}


def test_r85_all_reasons_are_listed() -> None:
    reason = SPEC.judge({"is_valid": 0, "area": math.inf}).reason
    assert reason == (
        "the validator set is_valid to 0; the metric area is inf, not a finite number; "
        "the metric steps is missing"
    )


def test_r85_a_value_outside_its_bounds_is_kept_and_flagged() -> None:
    verdict = SPEC.judge({"area": 0.05, "steps": 1})
    assert verdict.is_valid
    assert verdict.values["area"] == 0.05
    assert verdict.out_of_bounds == {"area": "0.05 is above the upper bound 0.04"}
    assert SPEC.judge({"area": -1, "steps": 1}).out_of_bounds == {"area": "-1.0 is below the lower bound 0.0"}
    assert SPEC.judge({"area": 0.04, "steps": 1}).out_of_bounds == {}


def test_r85_a_specified_is_valid_that_is_missing_makes_a_program_invalid() -> None:
    spec = MetricsSpec({"area": AREA, "is_valid": MetricSpec("is_valid")})
    assert spec.judge({"area": 0.01}).reason == "the metric is_valid is missing"
    assert spec.judge({"area": 0.01, "is_valid": True}).values == {"area": 0.01, "is_valid": 1.0}


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (True, 1.0),
        (3, 3.0),
        (np.int64(3), 3.0),
        (np.float32(0.25), 0.25),
        (np.array(0.25), 0.25),
        (np.bool_(True), 1.0),
        ("1", None),
        (np.str_("1"), None),
        (1j, None),
        (np.complex128(1), None),
        (Fraction(1, 2), None),
        (np.array([1.0]), None),
        (np.datetime64("2020-01-01"), None),
        (np.float64("nan"), None),
        ([], None),
    ],
)
def test_r85_what_counts_as_a_number(value: object, number: float | None) -> None:
    assert finite_float(value) == number


def test_r85_a_number_that_lies_about_its_value_is_seen_through() -> None:
    class Liar(float):
        def __float__(self) -> float:
            return 1e9

        def __gt__(self, other: object) -> bool:
            return True

    assert finite_float(Liar(0.5)) == 0.5
    assert type(finite_float(Liar(0.5))) is float


class Spiteful:
    """Raise SystemExit on any access to an attribute, including `__class__`."""

    def __getattribute__(self, name: str) -> object:
        raise SystemExit(name)

    def __repr__(self) -> str:
        raise SystemExit("repr")


def test_r33_r85_an_object_that_ends_the_process_is_no_number_and_breaks_nothing() -> None:
    verdict = SPEC.judge({"area": Spiteful(), "steps": 1, "extra": Spiteful(), "is_valid": Spiteful()})
    assert "the metric area is <Spiteful object> (Spiteful), not a finite number" in verdict.reason
    assert "the metric is_valid is <Spiteful object>" in verdict.reason
    assert SPEC.format("extra", verdict.values["extra"]) == "<Spiteful object>"


def test_r85_an_array_of_another_library_is_no_number() -> None:
    class Tensor:
        shape = ()

        def item(self) -> float:
            raise SystemExit

    assert finite_float(Tensor()) is None


@given(
    higher_is_better=st.booleans(),
    bounds=st.tuples(
        st.floats(-1e300, 1e300, allow_nan=False), st.floats(-1e300, 1e300, allow_nan=False)
    ).map(sorted),
)
def test_r85_a_default_sentinel_lies_outside_the_bounds(higher_is_better: bool, bounds: list[float]) -> None:
    sentinel = default_sentinel(higher_is_better, *bounds)
    assert sentinel < bounds[0] if higher_is_better else sentinel > bounds[1]


def test_r85_default_sentinels() -> None:
    assert default_sentinel(True) == -1e5
    assert default_sentinel(False) == 1e5
    assert default_sentinel(True, -1e6) == -2e6
    assert default_sentinel(True, -1e5) == -2e5
    assert default_sentinel(True, None, -2e5) == -4e5
    assert default_sentinel(False, 2e5) == 4e5
    assert default_sentinel(False, 0.0, 1e5) == 2e5


def test_r85_values_are_shown_by_decimals_and_unit() -> None:
    assert SPEC.format("area", 0.0300004) == "0.03000"
    assert SPEC.format("steps", np.int64(7)) == "7 steps"
    assert SPEC.format("other", 1 / 3) == "0.333333"
    assert SPEC.format("other", "text") == "text"


def test_r85_the_primary_metric_ranks_in_its_direction() -> None:
    assert SPEC.primary == "area"
    assert sorted([{"area": 0.1}, {"area": 0.3}], key=SPEC.sort_key)[0] == {"area": 0.3}
    fewest = MetricsSpec({"steps": MetricSpec("steps", is_primary=True, higher_is_better=False)})
    assert sorted([{"steps": 2}, {"steps": 1}], key=fewest.sort_key)[0] == {"steps": 1}
