"""R84, R85: metrics.yaml is checked, and every mistake names the file, the key and the expected value."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from gigaexec.evaluation.problems import MetricSpec, ProblemError, load_metrics_spec

PRIMARY = "area: {is_primary: true, higher_is_better: true}"


def write(tmp_path: Path, *metrics: str) -> Path:
    path = tmp_path / "metrics.yaml"
    path.write_text("specs:\n" + "".join(f"  {metric}\n" for metric in metrics))
    return path


def mistakes(path: Path) -> list[str]:
    with pytest.raises(ProblemError) as caught:
        load_metrics_spec(path)
    assert all(finding.startswith(str(path)) for finding in caught.value.findings)
    assert all(finding in str(caught.value) for finding in caught.value.findings)
    return [finding.removeprefix(f"{path}: ") for finding in caught.value.findings]


def test_r84_every_key_of_a_metric_is_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.yaml"
    path.write_text(
        """
specs:
  seconds:
    description: How long it takes
    decimals: 3
    unit: s
    is_primary: true
    higher_is_better: false
    lower_bound: 0
    upper_bound: 10
    include_in_prompts: false
    significant_change: 1e-5
    sentinel_value: 1e3
  steps: {}
"""
    )
    spec = load_metrics_spec(path)
    assert spec.primary == "seconds"
    assert spec.specs["seconds"] == MetricSpec(
        name="seconds",
        description="How long it takes",
        decimals=3,
        unit="s",
        is_primary=True,
        higher_is_better=False,
        lower_bound=0.0,
        upper_bound=10.0,
        include_in_prompts=False,
        significant_change=1e-5,
        sentinel_value=1000.0,
    )
    assert list(spec.specs) == ["seconds", "steps"]


def test_r85_defaults(tmp_path: Path) -> None:
    spec = load_metrics_spec(write(tmp_path, PRIMARY, "cost: {higher_is_better: false, upper_bound: null}"))
    assert spec.specs["area"].decimals == 5
    assert spec.specs["area"].unit == ""
    assert spec.specs["area"].lower_bound is None
    assert spec.sentinels() == {"area": -1e5, "cost": 1e5}


@pytest.mark.parametrize(
    ("metric", "finding"),
    [
        ("b: {decimals: 99999999999}", "specs.b.decimals: expected a whole number from 0 to 30, got 9999"),
        (
            "b: {upper_bound: 1, sentinel_value: 2}",
            "specs.b.sentinel_value: expected a number outside the bounds (no bound to 1.0) on their worse",
        ),
        (
            "b: {lower_bound: 0, upper_bound: 1, sentinel_value: 1000}",
            "specs.b.sentinel_value: expected a number outside the bounds (0.0 to 1.0) on their worse side",
        ),
        (
            "b: {lower_bound: -1.7e+308}",
            "specs.b.sentinel_value: expected a number outside the bounds, got nothing, and the default "
            "(twice the worst bound) is infinite",
        ),
        ("b: {decimals: five}", "specs.b.decimals: expected a whole number from 0 to 30, got 'five'"),
        ("b: {decimals: -1}", "specs.b.decimals: expected a whole number from 0 to 30, got -1"),
        ("b: {decimals: true}", "specs.b.decimals: expected a whole number from 0 to 30, got True"),
        ("b: {higher_is_better: 1}", "specs.b.higher_is_better: expected true or false, got 1"),
        (
            "b: {lower_bound: .inf}",
            "specs.b.lower_bound: expected a finite number (for no bound, leave out this key)",
        ),
        ("b: {lower_bound: true}", "specs.b.lower_bound: expected a finite number"),
        ("b: {lower_bound: '2'}", "specs.b.lower_bound: expected a finite number"),
        ("b: {description: 3}", "specs.b.description: expected text, got 3"),
        ("b: {significant_change: -1}", "specs.b.significant_change: expected a number >= 0, got -1"),
        (
            "b: {lower_bound: 2, upper_bound: 1}",
            "specs.b.lower_bound: expected a number <= upper_bound (1.0)",
        ),
        ("b: {decimal: 5}", "specs.b: unknown key 'decimal'; did you mean 'decimals'? (known: description,"),
        ("b: 5", "specs.b: expected a mapping, got 5"),
        ("5: {}", "specs.5: expected a name as text, got 5"),
        ("b: {is_primary: true}", "specs: expected exactly one metric with is_primary: true, got area, b"),
        (
            "b: {lower_bound: 0, upper_bound: 1, sentinel_value: 0.5}",
            "specs.b.sentinel_value: expected a number outside the bounds (0.0 to 1.0) on their worse side",
        ),
    ],
)
def test_r84_a_mistake_names_file_key_and_what_was_expected(
    tmp_path: Path, metric: str, finding: str
) -> None:
    (found,) = mistakes(write(tmp_path, PRIMARY, metric))
    assert found.startswith(finding)


def test_r84_all_mistakes_are_listed(tmp_path: Path) -> None:
    found = mistakes(write(tmp_path, "a: {decimals: x, unit: 3}", "b: {colour: red}"))
    assert [finding.split(":")[0] for finding in found] == [
        "specs.a.decimals",
        "specs.a.unit",
        "specs.b",
        "specs",
    ]


def test_r85_the_primary_metric_says_its_direction(tmp_path: Path) -> None:
    (found,) = mistakes(write(tmp_path, "a: {is_primary: true}"))
    assert found.startswith("specs.a.higher_is_better: expected true or false for the primary metric")


def test_r85_a_secondary_sentinel_may_be_the_worst_bound_a_primary_one_may_not(tmp_path: Path) -> None:
    bounds = "lower_bound: 0, upper_bound: 1, sentinel_value: 0"
    load_metrics_spec(write(tmp_path, PRIMARY, f"is_valid: {{{bounds}}}"))
    (found,) = mistakes(write(tmp_path, f"a: {{is_primary: true, higher_is_better: true, {bounds}}}"))
    assert found.startswith("specs.a.sentinel_value: expected a number outside the bounds (0.0 to 1.0)")


def test_r85_a_sentinel_beyond_the_other_bound_is_allowed_if_the_worse_side_has_none(tmp_path: Path) -> None:
    metric = "a: {is_primary: true, higher_is_better: true, upper_bound: 1, sentinel_value: %s}"
    assert load_metrics_spec(write(tmp_path, metric % -1)).sentinels() == {"a": -1.0}
    (found,) = mistakes(write(tmp_path, metric % 1))
    assert found.startswith("specs.a.sentinel_value: expected a number outside the bounds (no bound to 1.0)")


def test_r84_merge_keys_are_followed(tmp_path: Path) -> None:
    spec = load_metrics_spec(
        write(tmp_path, f"{PRIMARY[:4]}: &a {PRIMARY[6:]}", "b: {<<: *a, is_primary: false, unit: m}")
    )
    assert (spec.specs["b"].unit, spec.specs["b"].higher_is_better) == ("m", True)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("2024-13-45", "metrics.yaml:2: not valid YAML: '2024-13-45' is not a valid timestamp"),
        ("0b_", "metrics.yaml:2: not valid YAML: '0b_' is not a valid int"),
        ("9" * 5000, "is not a valid int"),
        ("!!timestamp abc", "'abc' is not a valid timestamp"),
        ("!!bool abc", "'abc' is not a valid bool"),
        ("[" * 600 + "]" * 600, "metrics.yaml: not valid YAML: nested too deep"),
    ],
)
def test_r84_a_value_that_does_not_fit_its_tag_is_reported(tmp_path: Path, value: str, message: str) -> None:
    path = tmp_path / "metrics.yaml"
    path.write_text(f"specs:\n  a: {{lower_bound: {value}}}\n")
    with pytest.raises(ProblemError) as caught:
        load_metrics_spec(path)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        ("", "expected a mapping with the key specs, got None"),
        ("specs: []", "specs: expected a mapping of metrics by name, got []"),
        ("spec: {}", "unknown key 'spec'; did you mean 'specs'? (known: specs)"),
    ],
)
def test_r84_a_file_of_another_form_is_refused(tmp_path: Path, content: str, finding: str) -> None:
    path = tmp_path / "metrics.yaml"
    path.write_text(content)
    assert mistakes(path)[0] == finding


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"specs:\n  a: {\n", "metrics.yaml:3: not valid YAML: "),
        (b"specs:\n  a: {}\n  a: {}\n", "metrics.yaml:3: not valid YAML: the key 'a' appears twice"),
        (b"specs: \x00", "metrics.yaml: not valid YAML: unacceptable character"),
        (b"specs: \xff", "metrics.yaml: not UTF-8 text"),
    ],
)
def test_r84_broken_yaml_is_reported_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "metrics.yaml"
    path.write_bytes(content)
    with pytest.raises(ProblemError) as caught:
        load_metrics_spec(path)
    assert message in str(caught.value)


def test_problem_errors_survive_pickling() -> None:
    error = ProblemError.listing("/x", ["one", "two"])
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.findings) == ("/x: 2 mistakes\n  one\n  two", ("one", "two"))
