"""Checks of numeric arguments, and byte amounts in messages."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from gigaexec.checks import require_count, require_seconds
from gigaexec.errors import ConfigurationError, InvalidCallError
from gigaexec.limits import LIMIT_SPECS, MIN_OPEN_FILES, Limits
from gigaexec.quantities import bytes_text

NOT_WHOLE: list[Any] = [1.0, True, "1", None, math.nan]
NOT_NUMBERS: list[Any] = [True, "1", None, math.nan]


@pytest.mark.parametrize("value", [0, -1, *NOT_WHOLE])
def test_a_count_that_makes_no_sense_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"n must be a positive whole number, not {value!r}"):
        require_count("n", value)


def test_counts_in_range_are_returned() -> None:
    assert [require_count("n", value, least=0, most=2) for value in (0, 1, 2)] == [0, 1, 2]
    with pytest.raises(ConfigurationError, match="n must be a whole number, at least 0, not 3"):
        require_count("n", 3, least=0, most=2)
    with pytest.raises(InvalidCallError, match="n must be a digit, not 10"):
        require_count("n", 10, most=9, expected="a digit", error=InvalidCallError)


@pytest.mark.parametrize("value", [0, -0.5, -math.inf, 10**400, *NOT_NUMBERS])
def test_seconds_that_make_no_sense_are_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="t_s must be a positive number of seconds, not"):
        require_seconds("t_s", value)


def test_seconds_in_range_are_returned_as_floats() -> None:
    assert [require_seconds("t_s", value) for value in (1, 0.5, math.inf)] == [1.0, 0.5, math.inf]
    assert require_seconds("t_s", 0, allow_zero=True) == 0.0
    with pytest.raises(ConfigurationError, match="t_s"):
        require_seconds("t_s", math.inf, most=10)


@pytest.mark.parametrize("name", LIMIT_SPECS)
def test_a_limit_must_be_in_range(name: str) -> None:
    is_time = name.endswith("_s")
    wrong: list[Any] = [0, -1, True, "1", 2**61, math.nan, *([] if is_time else [1.5, float(2**20)])]
    for value in wrong:
        with pytest.raises(ConfigurationError, match=rf"{name} must be a .*, or None, not {value!r}"):
            Limits(**{name: value})
    most: Any = 1e9 if is_time else 2**60
    assert getattr(Limits(**{name: most}), name) == most


def test_a_worker_needs_some_open_files_itself() -> None:
    assert Limits(open_files=MIN_OPEN_FILES).open_files == 24
    message = "open_files must be a whole number from 24 to 2**60, or None, not 23"
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        Limits(open_files=23)


def test_limits_that_the_driver_samples_are_known_by_name() -> None:
    limits = Limits(memory_bytes=1, cpu_time_s=1, processes=1, open_files=30, soft_deadline_s=1)
    assert limits.sampled == ("memory_bytes", "cpu_time_s", "processes")
    assert limits.need_watching
    assert not Limits(open_files=30, scratch_bytes=1).need_watching


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (100_000, "98 KiB"),
        (9.996 * 2**20, "10 MiB"),
        (1011 * 2**20, "1011 MiB"),
        (9999 * 2**20, "9999 MiB"),
        (20 * 2**30, "20.0 GiB"),
    ],
)
def test_bytes_in_words(count: float, text: str) -> None:
    assert bytes_text(count) == text
