"""The metrics of a problem, and the verdict on the metrics of one program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gigaexec.evaluation.findings import shown
from gigaexec.evaluation.numbers import finite_float
from gigaexec.untrusted.plain_values import is_a, type_name

VALIDITY_METRIC = "is_valid"
_DEFAULT_SENTINEL_SIZE = 1e5
_SIGNIFICANT_DIGITS_OF_EXTRAS = 6


def default_sentinel(
    higher_is_better: bool, lower_bound: float | None = None, upper_bound: float | None = None
) -> float:
    """Return a value that is worse than every value inside the bounds.

    The value is -1e5 if higher is better, and 1e5 if lower is better. If a bound is at least as bad as that,
    the value is twice the worst bound, or infinite if that exceeds the range of floats.

    Args:
        higher_is_better: The direction of the metric.
        lower_bound: The smallest plausible value; None is no bound.
        upper_bound: The largest plausible value; None is no bound.
    """
    bounds = [bound for bound in (lower_bound, upper_bound) if bound is not None]
    if higher_is_better:
        worst = min(bounds, default=0.0)
        return -_DEFAULT_SENTINEL_SIZE if worst > -_DEFAULT_SENTINEL_SIZE else 2 * worst
    worst = max(bounds, default=0.0)
    return _DEFAULT_SENTINEL_SIZE if worst < _DEFAULT_SENTINEL_SIZE else 2 * worst


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """The properties of one metric.

    Args:
        name: Its key in the validator's dict.
        description: What it measures.
        decimals: Digits after the decimal point when a value is shown, 0 or more.
        unit: Text shown after a value; "" is no unit.
        is_primary: True if programs are ranked by this metric.
        higher_is_better: True if a larger value is better.
        lower_bound: The smallest plausible value; None is no bound.
        upper_bound: The largest plausible value; None is no bound.
        include_in_prompts: True if whoever writes programs, for example a language model, sees this metric.
        significant_change: The smallest difference that matters; None if it is not specified.
        sentinel_value: The value of an invalid program; worse than every value inside the bounds.
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
        """Return the value as text with this metric's decimals and unit."""
        text = f"{value:.{self.decimals}f}"
        return f"{text} {self.unit}" if self.unit else text

    def bounds_finding(self, value: float) -> str:
        """Return a sentence about a value outside the bounds, or "" for a value inside them."""
        if self.lower_bound is not None and value < self.lower_bound:
            return f"{value!r} is below the lower bound {self.lower_bound!r}"
        if self.upper_bound is not None and value > self.upper_bound:
            return f"{value!r} is above the upper bound {self.upper_bound!r}"
        return ""


@dataclass(frozen=True, slots=True)
class MetricsVerdict:
    """The verdict on the metrics of one program.

    Args:
        is_valid: True if every specified metric is a finite number and the validator did not set `is_valid`
            to 0.
        reason: Why the program is invalid, one line; "" for a valid program.
        values: Every specified metric as a float, in the order of the specification; for an invalid program
            these are the sentinels. Then all other metrics: numbers as floats, other values unchanged.
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
        specs: Metric name -> its properties, in the order of the file.
    """

    specs: dict[str, MetricSpec]

    @property
    def primary(self) -> str:
        """The name of the metric by which programs are ranked."""
        return next(name for name, spec in self.specs.items() if spec.is_primary)

    @property
    def primary_spec(self) -> MetricSpec:
        """The metric by which programs are ranked."""
        return self.specs[self.primary]

    def sort_key(self, values: Mapping[str, Any]) -> float:
        """Return a number that is smaller for a better program: sorting by it puts the best program first.

        Args:
            values: The values of a verdict.
        """
        value = float(values[self.primary])
        return -value if self.primary_spec.higher_is_better else value

    def sentinels(self) -> dict[str, float]:
        """Return metric name -> sentinel value, for every specified metric."""
        return {name: spec.sentinel_value for name, spec in self.specs.items()}

    def format(self, name: str, value: Any) -> str:
        """Return the value of a metric as text.

        A specified metric gets its decimals and unit, any other number 6 significant digits.
        """
        number = finite_float(value)
        if number is None:
            return str.__str__(value) if is_a(value, str) else _on_one_line(value)
        if name in self.specs:
            return self.specs[name].format(number)
        return f"{number:.{_SIGNIFICANT_DIGITS_OF_EXTRAS}g}"

    def invalid(self, reason: str, metrics: Mapping[str, Any] | None = None) -> MetricsVerdict:
        """Return the verdict on a program that failed: the sentinels of all specified metrics.

        Do not use it for an inconclusive failure: that is no verdict on the program.

        Args:
            reason: Why the program is invalid, one line.
            metrics: Metrics that were measured. Those that are not specified are kept. None is no metric.
        """
        return MetricsVerdict(
            is_valid=False, reason=reason, values=self.sentinels() | self._extras(metrics or {})
        )

    def judge(self, metrics: Mapping[str, Any]) -> MetricsVerdict:
        """Return the verdict on the metrics that the validator and later stages gave.

        Args:
            metrics: Metric name -> value of any type; no code of the value's class runs.
        """
        numbers = {name: finite_float(metrics.get(name)) for name in self.specs}
        reasons = [_metric_finding(name, metrics) for name, number in numbers.items() if number is None]
        if VALIDITY_METRIC in metrics:
            validity = finite_float(metrics[VALIDITY_METRIC])
            if validity == 0:
                reasons.insert(0, f"the validator set {VALIDITY_METRIC} to 0")
            elif validity is None and VALIDITY_METRIC not in self.specs:
                reasons.append(_metric_finding(VALIDITY_METRIC, metrics))
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


def _metric_finding(name: str, metrics: Mapping[str, Any]) -> str:
    if name not in metrics:
        return f"the metric {name} is missing"
    value = metrics[name]
    kind = "" if type(value) is float else f" ({type_name(value)})"
    return f"the metric {name} is {_on_one_line(value)}{kind}, not a finite number"


def _on_one_line(value: object) -> str:
    # The repr of a numpy array has newlines.
    return " ".join(shown(value).split())
