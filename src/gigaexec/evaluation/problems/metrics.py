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

    The value is -1e5 if higher is better, and 1e5 if lower is better. If a bound is as bad as this value or
    worse, the value is twice the worst bound; if that exceeds the range of floats, the value is infinite.

    Args:
        higher_is_better: True if a larger value of the metric is better.
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
        name: Key of the metric in the dict that the validator returns.
        description: What the metric measures.
        decimals: Digits after the decimal point when a value is shown, 0 or more.
        unit: Text shown after a value; "" is no unit.
        is_primary: True if programs are ranked by this metric.
        higher_is_better: True if a larger value is better.
        lower_bound: The smallest plausible value; None is no bound.
        upper_bound: The largest plausible value; None is no bound.
        include_in_prompts: True if the author of programs, for example a language model, sees this metric.
        significant_change: The smallest difference that matters; None if it is not specified.
        sentinel_value: Value of the metric for an invalid program, worse than every value inside the bounds.
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
        """Return the value as text, with the decimals and the unit of this metric."""
        text = f"{value:.{self.decimals}f}"
        return f"{text} {self.unit}" if self.unit else text

    def bounds_finding(self, value: float) -> str:
        """Return a sentence about a value outside the bounds, or "" for a value inside the bounds."""
        if self.lower_bound is not None and value < self.lower_bound:
            return f"{value!r} is below the lower bound {self.lower_bound!r}"
        if self.upper_bound is not None and value > self.upper_bound:
            return f"{value!r} is above the upper bound {self.upper_bound!r}"
        return ""


@dataclass(frozen=True, slots=True)
class MetricsVerdict:
    """The verdict on the metrics of one program.

    Args:
        is_valid: True if every specified metric is a finite number, and `is_valid`, if the validator returned
            it, is a finite number other than 0.
        reason: Why the program is invalid, one line; "" for a valid program.
        values: First the metrics of metrics.yaml, as floats, in the order of that file. For an invalid
            program, these are the sentinel values. Then all other metrics: numbers as floats, other values
            unchanged.
        out_of_bounds: Metric name -> a sentence, for each metric of a valid program that is outside its
            bounds.
    """

    is_valid: bool
    reason: str
    values: dict[str, Any]
    out_of_bounds: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MetricsSpec:
    """All metrics of a problem. Exactly one is primary.

    Args:
        specs: Metric name -> properties of the metric, in the order of metrics.yaml.
    """

    specs: dict[str, MetricSpec]

    @property
    def primary(self) -> str:
        """Name of the metric that ranks the programs."""
        return next(name for name, spec in self.specs.items() if spec.is_primary)

    @property
    def primary_spec(self) -> MetricSpec:
        """Properties of the metric that ranks the programs."""
        return self.specs[self.primary]

    def sort_key(self, values: Mapping[str, Any]) -> float:
        """Return a sort key that is smaller for a better program, so that the best program comes first.

        Args:
            values: The metrics of the program, as in `MetricsVerdict.values`.
        """
        value = float(values[self.primary])
        return -value if self.primary_spec.higher_is_better else value

    def sentinels(self) -> dict[str, float]:
        """Return metric name -> sentinel value, for every metric of metrics.yaml."""
        return {name: spec.sentinel_value for name, spec in self.specs.items()}

    def format(self, name: str, value: Any) -> str:
        """Return the value of a metric as text.

        A metric of metrics.yaml has the decimals and the unit given there. Any other number has 6 significant
        digits.
        """
        number = finite_float(value)
        if number is None:
            return str.__str__(value) if is_a(value, str) else _on_one_line(value)
        if name in self.specs:
            return self.specs[name].format(number)
        return f"{number:.{_SIGNIFICANT_DIGITS_OF_EXTRAS}g}"

    def invalid(self, reason: str, metrics: Mapping[str, Any] | None = None) -> MetricsVerdict:
        """Return the verdict on a program that failed: every metric of metrics.yaml has its sentinel value.

        Do not call this for an inconclusive failure, which is no verdict on the program.

        Args:
            reason: Why the program is invalid, one line.
            metrics: Metrics that were measured. Metrics that metrics.yaml does not specify are kept in the
                verdict. None is no metric.
        """
        return MetricsVerdict(
            is_valid=False, reason=reason, values=self.sentinels() | self._extras(metrics or {})
        )

    def judge(self, metrics: Mapping[str, Any]) -> MetricsVerdict:
        """Return the verdict on the metrics that the validator and other stages returned for a program.

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
    # The repr of a numpy array contains newlines.
    return " ".join(shown(value).split())
