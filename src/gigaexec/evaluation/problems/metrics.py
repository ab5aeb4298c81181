"""The metrics of a problem, and the verdict on those of a program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gigaexec.evaluation.problems.numbers import finite_float
from gigaexec.untrusted.json_text import safe_repr
from gigaexec.untrusted.plain_values import is_a, type_name

VALIDITY_METRIC = "is_valid"
_DEFAULT_SENTINEL_SIZE = 1e5
_SIGNIFICANT_DIGITS_OF_EXTRAS = 6
_SHOWN_CHARACTERS = 60


def default_sentinel(
    higher_is_better: bool, lower_bound: float | None = None, upper_bound: float | None = None
) -> float:
    """-1e5 where higher is better and 1e5 where lower is, moved beyond the bounds where it is not worse.

    Infinite where floats end before it is.
    """
    bounds = [bound for bound in (lower_bound, upper_bound) if bound is not None]
    if higher_is_better:
        worst = min(bounds, default=0.0)
        size = max(_DEFAULT_SENTINEL_SIZE, abs(worst))
        return -_DEFAULT_SENTINEL_SIZE if worst > -_DEFAULT_SENTINEL_SIZE else worst - size
    worst = max(bounds, default=0.0)
    size = max(_DEFAULT_SENTINEL_SIZE, abs(worst))
    return _DEFAULT_SENTINEL_SIZE if worst < _DEFAULT_SENTINEL_SIZE else worst + size


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """What is known of one metric.

    Args:
        name: Its key in the validator's dict.
        description: What it measures.
        decimals: Digits after the point when it is shown, 0 or more.
        unit: Shown after the value; "" is none.
        is_primary: Whether programs are ranked by it.
        higher_is_better: Its direction.
        lower_bound: The smallest plausible value; None is no bound.
        upper_bound: The largest plausible value; None is no bound.
        include_in_prompts: Whether a program's author is told this metric.
        significant_change: The smallest difference that means something; None where nobody said.
        sentinel_value: The value that an invalid program gets; lies outside the bounds.
    """

    name: str
    description: str = ""
    decimals: int = 5
    unit: str = ""
    is_primary: bool = False
    higher_is_better: bool = True
    lower_bound: float | None = None
    upper_bound: float | None = None
    include_in_prompts: bool = True
    significant_change: float | None = None
    sentinel_value: float = -_DEFAULT_SENTINEL_SIZE

    def format(self, value: float) -> str:
        """The value with this metric's decimals and unit."""
        text = f"{value:.{self.decimals}f}"
        return f"{text} {self.unit}" if self.unit else text

    def bounds_finding(self, value: float) -> str:
        """A sentence about a value outside the bounds; "" for one inside."""
        if self.lower_bound is not None and value < self.lower_bound:
            return f"{value!r} is below the lower bound {self.lower_bound!r}"
        if self.upper_bound is not None and value > self.upper_bound:
            return f"{value!r} is above the upper bound {self.upper_bound!r}"
        return ""


@dataclass(frozen=True, slots=True)
class MetricsVerdict:
    """What a program's metrics are worth.

    Args:
        is_valid: Whether every specified metric is there as a finite number and `is_valid` is not 0.
        reason: Why the program is invalid, one line; "" for a valid one.
        values: Every specified metric as a float, for an invalid program its sentinel, in the order of the
            specification; then the further metrics, numbers as floats and anything else as it came.
        out_of_bounds: For a valid program, metric -> a sentence about its value outside the bounds.
    """

    is_valid: bool
    reason: str
    values: dict[str, Any]
    out_of_bounds: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MetricsSpec:
    """All metrics of a problem. Exactly one is primary.

    Args:
        specs: Metrics by name, in the order of the file.
    """

    specs: dict[str, MetricSpec]

    @property
    def primary(self) -> str:
        """Name of the metric by which programs are ranked."""
        return next(name for name, spec in self.specs.items() if spec.is_primary)

    @property
    def primary_spec(self) -> MetricSpec:
        return self.specs[self.primary]

    def sort_key(self, values: Mapping[str, Any]) -> float:
        """A number that is smaller for a better program: sort by it and the best comes first."""
        value = float(values[self.primary])
        return -value if self.primary_spec.higher_is_better else value

    def sentinels(self) -> dict[str, float]:
        """Each specified metric's sentinel."""
        return {name: spec.sentinel_value for name, spec in self.specs.items()}

    def format(self, name: str, value: Any) -> str:
        """A metric's value as it is shown: specified ones by their decimals and unit."""
        number = finite_float(value)
        if number is None:
            return str.__str__(value) if is_a(value, str) else _shown(value)
        if name in self.specs:
            return self.specs[name].format(number)
        return f"{number:.{_SIGNIFICANT_DIGITS_OF_EXTRAS}g}"

    def invalid(self, reason: str, metrics: Mapping[str, Any] | None = None) -> MetricsVerdict:
        """The verdict on a program that failed: every sentinel, and what else was measured.

        Do not make one for a failure that says nothing about the program.
        """
        return MetricsVerdict(
            is_valid=False, reason=reason, values=self.sentinels() | self._extras(metrics or {})
        )

    def judge(self, metrics: Mapping[str, Any]) -> MetricsVerdict:
        """Judge what a validator, with the stages after it, measured."""
        numbers = {name: finite_float(metrics.get(name)) for name in self.specs}
        reasons = [_missing(name, metrics) for name, number in numbers.items() if number is None]
        if VALIDITY_METRIC in metrics:
            validity = finite_float(metrics[VALIDITY_METRIC])
            if validity == 0:
                reasons.insert(0, f"the validator set {VALIDITY_METRIC} to 0")
            elif validity is None and VALIDITY_METRIC not in self.specs:
                reasons.append(_missing(VALIDITY_METRIC, metrics))
        if reasons:
            return self.invalid("; ".join(reasons), metrics)
        values = {name: number for name, number in numbers.items() if number is not None}
        findings = {name: self.specs[name].bounds_finding(value) for name, value in values.items()}
        return MetricsVerdict(
            is_valid=True,
            reason="",
            values=values | self._extras(metrics),
            out_of_bounds={name: finding for name, finding in findings.items() if finding},
        )

    def _extras(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        extras = {name: value for name, value in metrics.items() if name not in self.specs}
        numbers = {name: finite_float(value) for name, value in extras.items()}
        return {name: value if numbers[name] is None else numbers[name] for name, value in extras.items()}


def _missing(name: str, metrics: Mapping[str, Any]) -> str:
    if name not in metrics:
        return f"the metric {name} is missing"
    value = metrics[name]
    kind = "" if type(value) is float else f" ({type_name(value)})"
    return f"the metric {name} is {_shown(value)}{kind}, not a finite number"


def _shown(value: object) -> str:
    return " ".join(safe_repr(value, most_characters=_SHOWN_CHARACTERS).split())
