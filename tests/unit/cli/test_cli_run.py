"""The arguments of `gigaexec run`."""

from __future__ import annotations

import pytest
import typer

from gigaexec.cli.run import _parse_json


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("[1 2]", '"," expected at column 4'),
        ("", "value expected at column 1"),
        ("[1\n2]", '"," expected at line 2, column 1'),
        ('["a', "unterminated string at column 2"),
        ("[1]]", "extra data at column 4"),
        ('["\t"]', "invalid control character at column 3"),
    ],
)
def test_a_mistake_in_json_is_named_with_its_place(text: str, mistake: str) -> None:
    with pytest.raises(typer.BadParameter) as raised:
        _parse_json(list, text, option="'--args'", example="[1, 2]")
    assert raised.value.message == f"not valid JSON ({mistake}); give an array such as [1, 2]"


@pytest.mark.parametrize("text", ["[" * 100_000, "[" + "9" * 5000 + "]"])
def test_json_that_python_cannot_read_is_a_wrong_use(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="Python cannot read this JSON"):
        _parse_json(list, text, option="'--args'", example="[1, 2]")
