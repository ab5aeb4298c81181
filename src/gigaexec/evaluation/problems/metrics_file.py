"""Reading metrics.yaml."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gigaexec.evaluation.problems.errors import ProblemError
from gigaexec.evaluation.problems.metrics import MetricSpec, MetricsSpec, default_sentinel
from gigaexec.evaluation.problems.numbers import written_number
from gigaexec.evaluation.problems.yaml_file import read_yaml
from gigaexec.evaluation.stages.names import unknown_name
from gigaexec.untrusted.json_text import safe_repr

_MOST_DECIMALS = 30  # a float has 17 digits


@dataclass(frozen=True, slots=True)
class _Key:
    """One key of a metric: what is expected there, and how it is read; `read` gives None for a mistake."""

    expected: str
    read: Callable[[object], Any]
    may_be_null: bool = False


def _text(value: object) -> str | None:
    return value.strip() if isinstance(value, str) else None


def _truth(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _decimals(value: object) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value <= _MOST_DECIMALS else None


def _non_negative(value: object) -> float | None:
    number = written_number(value)
    return number if number is not None and number >= 0 else None


_BOUND = _Key("a finite number; leave it out for no bound", written_number, may_be_null=True)
_KEYS = {
    "description": _Key("text", _text),
    "decimals": _Key(f"a whole number from 0 to {_MOST_DECIMALS}", _decimals),
    "unit": _Key("text", _text, may_be_null=True),
    "is_primary": _Key("true or false", _truth),
    "higher_is_better": _Key("true or false", _truth),
    "lower_bound": _BOUND,
    "upper_bound": _BOUND,
    "include_in_prompts": _Key("true or false", _truth),
    "significant_change": _Key("a number >= 0", _non_negative, may_be_null=True),
    "sentinel_value": _Key("a finite number", written_number, may_be_null=True),
}


def load_metrics_spec(path: str | Path) -> MetricsSpec:
    """Read and check a metrics.yaml.

    Raises:
        ProblemError: It is missing, unreadable or wrong; every mistake is listed with its key.
    """
    path = Path(path)
    spec, findings = _read_specs(read_yaml(path))
    if findings:
        raise ProblemError.listing(path, [f"{path}: {finding}" for finding in findings])
    return spec


def _read_specs(content: object) -> tuple[MetricsSpec, list[str]]:
    if not isinstance(content, dict):
        return MetricsSpec({}), [f"expected a mapping with the key specs, got {_shown(content)}"]
    findings = [unknown_name("key", key, ["specs"]) for key in content if key != "specs"]
    entries = content.get("specs")
    if not isinstance(entries, dict) or not entries:
        got = _shown(entries) if "specs" in content else "nothing"
        return MetricsSpec({}), [*findings, f"specs: expected a mapping of metrics by name, got {got}"]
    specs = {}
    for name, entry in entries.items():
        if not isinstance(name, str):
            findings.append(f"specs.{name}: expected a name as text, got {_shown(name)}")
            continue
        specs[name], mistakes = _read_metric(name, entry)
        findings += [f"specs.{name}{mistake}" for mistake in mistakes]
    return MetricsSpec(specs), findings + _check_primary(specs, entries)


def _read_metric(name: str, entry: object) -> tuple[MetricSpec, list[str]]:
    if not isinstance(entry, dict):
        return MetricSpec(name), [f": expected a mapping, got {_shown(entry)}"]
    findings = [f": {unknown_name('key', key, _KEYS)}" for key in entry if key not in _KEYS]
    given: dict[str, Any] = {}
    for key, rule in _KEYS.items():
        if key not in entry or (rule.may_be_null and entry[key] is None):
            continue
        value = rule.read(entry[key])
        if value is None:
            findings.append(f".{key}: expected {rule.expected}, got {_shown(entry[key])}")
        else:
            given[key] = value
    if "sentinel_value" in given:
        spec = MetricSpec(name, **given)
        findings += _check_sentinel(spec)
    else:
        bounds = given.get("lower_bound"), given.get("upper_bound")
        spec = MetricSpec(
            name, **given, sentinel_value=default_sentinel(given.get("higher_is_better", True), *bounds)
        )
        if not math.isfinite(spec.sentinel_value):
            findings.append(".sentinel_value: expected a number outside the bounds, got nothing")
    if spec.lower_bound is not None and spec.upper_bound is not None and spec.lower_bound > spec.upper_bound:
        findings.append(
            f".lower_bound: expected a number <= upper_bound ({spec.upper_bound!r}), got {spec.lower_bound!r}"
        )
    return spec, findings


def _check_sentinel(spec: MetricSpec) -> list[str]:
    """A sentinel is worse than every value inside the bounds, so that nobody takes it for a measured one.

    Existing problems put the sentinel of a secondary metric (`is_valid`, a count) on its worst bound, 0 for
    instance. That ranks nothing, so it is let pass; inside the bounds, or for the primary metric, it is not.
    Where the worse side has no bound, nothing lies outside it, and the problem's choice stands.
    """
    low, high, sentinel = spec.lower_bound, spec.upper_bound, spec.sentinel_value
    if low is None and high is None:
        return []
    worst = low if spec.higher_is_better else high
    best = high if spec.higher_is_better else low
    sign = 1 if spec.higher_is_better else -1
    if worst is not None:
        is_worse = sign * sentinel < sign * worst or (sentinel == worst and not spec.is_primary)
    else:
        assert best is not None
        is_worse = sign * sentinel < sign * best
    if is_worse:
        return []
    shown_low, shown_high = ("no bound" if bound is None else repr(bound) for bound in (low, high))
    return [
        f".sentinel_value: expected a number outside the bounds "
        f"({shown_low} to {shown_high}) on their worse side, got {sentinel!r}"
    ]


def _check_primary(specs: Mapping[str, MetricSpec], entries: Mapping[Any, object]) -> list[str]:
    primary = [name for name, spec in specs.items() if spec.is_primary]
    if len(primary) != 1:
        got = ", ".join(primary) if primary else "none"
        return [f"specs: expected exactly one metric with is_primary: true, got {got}"]
    entry = entries[primary[0]]
    if isinstance(entry, dict) and "higher_is_better" not in entry:
        return [
            f"specs.{primary[0]}.higher_is_better: expected true or false for the primary metric, got nothing"
        ]
    return []


def _shown(value: object) -> str:
    return safe_repr(value, most_characters=60)
