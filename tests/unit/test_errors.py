"""Error classes: the documented tree matches the classes, and each error survives pickling."""

from __future__ import annotations

import builtins
import copy
import importlib
import inspect
import pickle
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

import gigaexec
from gigaexec import errors
from gigaexec.calls import CapturedOutput, ExecutionMetrics, LimitHit
from gigaexec.errors import (
    CallCancelledError,
    CallError,
    CallTimeoutError,
    ConfigurationError,
    ExecRunnerError,
    GigaexecError,
    InfrastructureError,
    InvalidCallError,
    LimitExceededError,
    OutcomeStatus,
    QueueTimeoutError,
    WorkerCrashedError,
)
from gigaexec.limits import LIMIT_SPECS

OUTPUT = CapturedOutput("printed\n", "", 8, 0)
SAMPLES: dict[str, Any] = {
    "output": OUTPUT,
    "metrics": ExecutionMetrics(1, 2.0, 3.0, 4.0, 5),
    "stderr": "Traceback (most recent call last):\n  ...\n",
    "returncode": -11,
    "signal_name": "SIGSEGV",
    "hit": LimitHit("memory_bytes", 1000, 2000),
    "deadline_s": 1.5,
    "run_time_s": 1.625,
    "findings": ("metrics.yaml: specs: missing", "validate.py: missing"),
}


def import_everything() -> None:
    for module in pkgutil.walk_packages(gigaexec.__path__, "gigaexec."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def classes_below(base: type[GigaexecError]) -> Iterator[type[GigaexecError]]:
    yield base
    for child in base.__subclasses__():
        yield from classes_below(child)


import_everything()
ALL_ERRORS = sorted(
    {kind for kind in classes_below(GigaexecError) if kind.__module__.startswith("gigaexec")},
    key=lambda kind: kind.__qualname__,
)


def drawn_tree() -> dict[str, set[str]]:
    """Map each class name to the names of its bases, as drawn in the docstring of `gigaexec.errors`."""
    assert errors.__doc__ is not None
    drawn: dict[str, set[str]] = {}
    ancestors: list[str] = []
    for line in errors.__doc__.splitlines():
        match = re.match(r"    (?P<branches>[│├└─ ]*)(?P<name>[A-Z]\w+Error)\b(?P<rest>.*)", line)
        if match is None:
            continue
        depth = len(match["branches"]) // 4
        bases = {ancestors[depth - 1]} if depth else {"Exception"}
        also = re.search(r"\(also an? (\w+)\)", match["rest"])
        drawn[match["name"]] = bases | ({also[1]} if also else set())
        # Some lines list several classes with the same base.
        drawn |= dict.fromkeys(re.findall(r"[├└]── (\w+Error)\b", match["rest"]), bases)
        ancestors[depth:] = [match["name"]]
    return drawn


def test_the_drawn_tree_is_the_tree() -> None:
    classes = {
        name: {base.__name__ for base in kind.__bases__}
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, GigaexecError)
    }
    assert len(classes) == 30
    assert drawn_tree() == classes


@pytest.mark.parametrize("kind", ALL_ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_survives_pickling_and_copying_with_its_attributes(kind: type[GigaexecError]) -> None:
    parameters = list(inspect.signature(kind.__init__).parameters.values())
    keywords = {
        parameter.name: SAMPLES[parameter.name]
        for parameter in parameters
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    error = kind("two lines\nof facts", **keywords)
    copies = [pickle.loads(pickle.dumps(error, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    copies += [pickle.loads(cloudpickle.dumps(error)), copy.copy(error), copy.deepcopy(error)]
    for again in copies:
        assert type(again) is kind
        assert again.args == error.args == ("two lines\nof facts",)
        assert vars(again) == vars(error)
        assert {name: getattr(again, name) for name in keywords} == keywords
        assert str(again) == str(error)


@pytest.mark.parametrize("kind", ALL_ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_can_be_made_without_arguments(kind: type[GigaexecError]) -> None:
    error = kind()
    assert isinstance(str(error), str)
    assert error.summary == kind.__name__


@pytest.mark.parametrize("kind", ALL_ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_says_what_it_means(kind: type[GigaexecError]) -> None:
    assert kind.__doc__


def test_every_limit_has_an_error_and_a_status_of_its_own() -> None:
    specs = LIMIT_SPECS.values()
    assert {spec.error for spec in specs} == set(LimitExceededError.__subclasses__())
    assert len({spec.error.status for spec in specs}) == len(specs)
    for name, spec in LIMIT_SPECS.items():
        assert spec.error.status == f"{name.removesuffix('_bytes').removesuffix('_s')}_exceeded"


def test_every_limit_status_and_error_is_on_its_page() -> None:
    docs = Path(__file__).parents[2] / "docs"
    limits = (docs / "how-to" / "limits.md").read_text("utf-8")
    for name, spec in LIMIT_SPECS.items():
        assert re.search(rf"^\| `{name}` \|.*\| `{spec.error.status}` \|$", limits, re.MULTILINE), name
    reference = (docs / "reference" / "errors.md").read_text("utf-8")
    assert [status for status in OutcomeStatus if f"\n| `{status}` |" not in reference] == []
    ours = [kind.__name__ for kind in ALL_ERRORS if kind.__module__ == "gigaexec.errors"]
    assert [name for name in ours if not re.search(rf"^    .*\b{name} ", reference + " ", re.MULTILINE)] == [
        "GigaexecError"
    ]


def test_every_status_but_ok_has_an_error() -> None:
    assert {kind.status for kind in ALL_ERRORS} == set(OutcomeStatus) - {OutcomeStatus.OK}


def test_only_failures_of_the_machine_and_cancellations_are_inconclusive() -> None:
    inconclusive = {kind for kind in ALL_ERRORS if kind().is_inconclusive}
    assert inconclusive == {
        kind
        for kind in ALL_ERRORS
        if kind is GigaexecError
        or (issubclass(kind, InfrastructureError | ConfigurationError) and kind is not InvalidCallError)
        or kind is CallCancelledError
    }
    assert {status for status in OutcomeStatus if status.is_inconclusive} == {"infrastructure", "cancelled"}


def test_r34_a_timeout_of_the_call_is_a_timeout_error_and_a_full_queue_is_not() -> None:
    assert issubclass(CallTimeoutError, TimeoutError)
    assert not issubclass(QueueTimeoutError, builtins.TimeoutError | CallError)


def test_r34_a_timeout_carries_how_long_it_ran_and_what_was_printed() -> None:
    error = CallTimeoutError("too long", deadline_s=1.0, run_time_s=1.01, output=OUTPUT)
    assert (error.deadline_s, error.run_time_s, error.output) == (1.0, 1.01, OUTPUT)
    assert str(error) == "too long\n--- captured output: stdout ---\nprinted\n"
    assert error.summary == "too long"


def test_section_1_the_text_of_a_user_error_holds_the_traceback() -> None:
    error = ExecRunnerError("ZeroDivisionError: division by zero", stderr="Traceback ...\n")
    assert str(error) == "ZeroDivisionError: division by zero\nTraceback ...\n"
    assert error.summary == "ZeroDivisionError: division by zero"
    assert error.returncode == 1


def test_a_crash_is_a_kind_of_user_error() -> None:
    error = WorkerCrashedError("killed", signal_name="SIGKILL", returncode=-9)
    assert isinstance(error, ExecRunnerError)
    assert (error.signal_name, error.returncode) == ("SIGKILL", -9)


def test_the_exit_code_of_a_crash_is_unknown_unless_it_is_given() -> None:
    assert WorkerCrashedError("ended").returncode is None
