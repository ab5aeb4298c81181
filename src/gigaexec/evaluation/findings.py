"""Make sentences about mistakes in user input, such as metrics.yaml or the inputs of stages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from pydantic import ValidationError

from gigaexec.untrusted.json_text import safe_repr

_MAX_SHOWN_CHARACTERS = 60
# Type of a pydantic error -> the expected value, in the same words as the checks of metrics.yaml.
_EXPECTED = {"dict_type": "a mapping", "model_type": "a mapping", "string_type": "text"}


def shown(value: object) -> str:
    """Return the repr of a value, cut after 60 characters. No code of the value's class runs."""
    return safe_repr(value, most_characters=_MAX_SHOWN_CHARACTERS)


def unknown_name(what: str, name: object, known: Iterable[str]) -> str:
    """Return a sentence about an unknown name, with the closest known name and a list of all known names.

    Args:
        what: The kind of name, such as "stage" or "key".
        name: The unknown name.
        known: The names that exist.
    """
    names = list(known)
    close = difflib.get_close_matches(str(name), names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    listing = ", ".join(names) if names else "none"
    return f"unknown {what} {name!r}{hint} (known: {listing})"


def findings_of(error: ValidationError, known_keys: Mapping[int, Iterable[str]] | None = None) -> list[str]:
    """Return one line for each mistake that pydantic found: the place, the expected and the given value.

    Args:
        error: The error that pydantic raised.
        known_keys: Depth -> the allowed keys of a mapping at that depth. The outermost mapping has depth 1.
            At a depth that is not listed, an unknown key is reported without a suggestion.
    """
    findings = []
    for detail in error.errors(include_url=False, include_context=False):
        place, words = detail["loc"], detail["msg"]
        if detail["type"] == "missing":
            words = "is missing"
        elif detail["type"] == "extra_forbidden":
            known = (known_keys or {}).get(len(place))
            words = "unknown key" if known is None else unknown_name("key", place[-1], known)
            place = place if known is None else place[:-1]
        elif detail["type"] == "value_error":  # a ValueError that a pydantic validator of gigaexec raised
            words = words.removeprefix("Value error, ")
        else:
            expected = _EXPECTED.get(detail["type"], words.removeprefix("Input should be "))
            words = f"expected {expected}, got {shown(detail['input'])}"
        findings.append(f"{'.'.join(map(str, place))}: {words}" if place else words)
    return findings
