"""Read metrics.yaml."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gigaexec.evaluation.findings import shown, unknown_name
from gigaexec.evaluation.numbers import finite_float
from gigaexec.evaluation.problems.errors import ProblemError
from gigaexec.evaluation.problems.files import read_yaml
from gigaexec.evaluation.problems.metrics import MetricSpec, MetricsSpec, default_sentinel

_MAX_DECIMALS = 30  # more than anybody needs: a float has at most 17 significant digits
# PyYAML reads YAML 1.1, in which 1e-5 is text because it has no dot. Users mean the number.
_NUMBER_WITHOUT_DOT = re.compile(r"[-+]?\d+[eE][-+]?\d+")


def _text(value: object) -> str | None:
    return value.strip() if isinstance(value, str) else None


def _bool(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _number(value: object) -> float | None:
    if isinstance(value, str) and _NUMBER_WITHOUT_DOT.fullmatch(value.strip()):
        value = float(value)
    return None if isinstance(value, bool) else finite_float(value)


def _number_from_0(value: object) -> float | None:
    number = _number(value)
    return number if number is not None and number >= 0 else None


def _decimals(value: object) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value <= _MAX_DECIMALS else None


@dataclass(frozen=True, slots=True)
class _Key:
    """Check of one key of a metric in metrics.yaml.

    Args:
        expected: Description of the allowed values, for the error message.
        read: Converts the value in the file to the value for `MetricSpec`. Returns None for a wrong value.
        may_be_null: True if null is the same as leaving out the key.
    """

    expected: str
    read: Callable[[object], Any]
    may_be_null: bool = False


_BOUND = _Key("a finite number (for no bound, leave out this key)", _number, may_be_null=True)
_KEYS = {
    "description": _Key("text", _text),
    "decimals": _Key(f"a whole number from 0 to {_MAX_DECIMALS}", _decimals),
    "unit": _Key("text", _text, may_be_null=True),
    "is_primary": _Key("true or false", _bool),
    "higher_is_better": _Key("true or false", _bool),
    "lower_bound": _BOUND,
    "upper_bound": _BOUND,
    "include_in_prompts": _Key("true or false", _bool),
    "significant_change": _Key("a number >= 0", _number_from_0, may_be_null=True),
    "sentinel_value": _Key("a finite number", _number, may_be_null=True),
}


def load_metrics_spec(path: str | Path) -> MetricsSpec:
    """Read and check a metrics.yaml.

    Args:
        path: Path of the file.

    Raises:
        ProblemError: The file is missing, unreadable or wrong. The message lists every mistake with its key.
    """
    path = Path(path)
    spec, findings = _read_specs(read_yaml(path))
    if findings:
        raise ProblemError.listing(path, [f"{path}: {finding}" for finding in findings])
    return spec


def _read_specs(content: object) -> tuple[MetricsSpec, list[str]]:
    if not isinstance(content, dict):
        return MetricsSpec({}), [f"expected a mapping with the key specs, got {shown(content)}"]
    findings = [unknown_name("key", key, ["specs"]) for key in content if key != "specs"]
    entries = content.get("specs")
    if not isinstance(entries, dict) or not entries:
        got = shown(entries) if "specs" in content else "nothing"
        return MetricsSpec({}), [*findings, f"specs: expected a mapping of metrics by name, got {got}"]
    specs = {}
    for name, entry in entries.items():
        if not isinstance(name, str):
            findings.append(f"specs.{name}: expected a name as text, got {shown(name)}")
            continue
        specs[name], mistakes = _read_metric(name, entry)
        findings += [f"specs.{name}{mistake}" for mistake in mistakes]
    return MetricsSpec(specs), findings + _check_primary(specs, entries)


def _read_metric(name: str, entry: object) -> tuple[MetricSpec, list[str]]:
    if not isinstance(entry, dict):
        return MetricSpec(name), [f": expected a mapping, got {shown(entry)}"]
    findings = [f": {unknown_name('key', key, _KEYS)}" for key in entry if key not in _KEYS]
    given: dict[str, Any] = {}
    for key, rule in _KEYS.items():
        if key not in entry or (rule.may_be_null and entry[key] is None):
            continue
        value = rule.read(entry[key])
        if value is None:
            findings.append(f".{key}: expected {rule.expected}, got {shown(entry[key])}")
        else:
            given[key] = value
    bounds = low, high = given.get("lower_bound"), given.get("upper_bound")
    sentinel = default_sentinel(given.get("higher_is_better", True), *bounds)
    spec = MetricSpec(name, **{"sentinel_value": sentinel, **given})
    if low is not None and high is not None and low > high:
        findings.append(f".lower_bound: expected a number <= upper_bound ({high!r}), got {low!r}")
    if not math.isfinite(spec.sentinel_value):
        findings.append(
            ".sentinel_value: expected a number outside the bounds, got nothing, and the default (twice the "
            "worst bound) is infinite"
        )
    elif "sentinel_value" in given and not _may_be_sentinel(spec):
        between = " to ".join("no bound" if bound is None else repr(bound) for bound in bounds)
        findings.append(
            f".sentinel_value: expected a number outside the bounds ({between}) on their worse side, "
            f"got {spec.sentinel_value!r}"
        )
    return spec, findings


def _may_be_sentinel(spec: MetricSpec) -> bool:
    """True if the sentinel is worse than every value inside the bounds.

    If the metric has no bound on its worse side, the sentinel must be worse than the other bound. The
    sentinel of a secondary metric may also equal the worst bound, as in existing problems (0 for `is_valid`):
    only the primary metric affects the ranking.
    """
    low, high, sentinel = spec.lower_bound, spec.upper_bound, spec.sentinel_value
    worst, best = (low, high) if spec.higher_is_better else (high, low)
    limit = best if worst is None else worst
    if limit is None or (sentinel == worst and not spec.is_primary):
        return True
    return sentinel < limit if spec.higher_is_better else sentinel > limit


def _check_primary(specs: Mapping[str, MetricSpec], entries: Mapping[Any, object]) -> list[str]:
    primary = [name for name, spec in specs.items() if spec.is_primary]
    if len(primary) != 1:
        got = ", ".join(primary) if primary else "none"
        return [f"specs: expected exactly one metric with is_primary: true, got {got}"]
    entry = entries[primary[0]]
    if isinstance(entry, dict) and "higher_is_better" not in entry:
        key = f"specs.{primary[0]}.higher_is_better"
        return [f"{key}: expected true or false for the primary metric, got nothing"]
    return []
