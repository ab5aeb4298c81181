"""Checks of fields that an untrusted process sent."""

from __future__ import annotations

from typing import Any

import pytest

from gigaexec.wire.checks import ProtocolError, require_count


@pytest.mark.parametrize(
    ("value", "shown"), [(-1, "-1"), (2**64, "18446744073709551616"), (0.5, "0.5"), ("7", "str")]
)
def test_a_refused_number_is_shown(value: Any, shown: str) -> None:
    with pytest.raises(ProtocolError, match=rf"^expected an int from 0 to 2\*\*64 - 1, got {shown}$"):
        require_count(value)


def test_a_huge_int_is_refused_without_converting_it_to_text() -> None:
    with pytest.raises(ProtocolError, match="got an int of 16610 bits"):
        require_count(10**5000)
