"""Evaluate many programs on one problem and rank them.

The subpackages can be used alone: `programs` (the record of a program), `stages` (the parts of an
evaluation) and `problems` (problem folders). All but `programs` need the extra `stages`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gigaexec.evaluation.evaluate import evaluate_programs
    from gigaexec.evaluation.ranking import Ranking, rank
    from gigaexec.evaluation.record import ProgramEvaluation

__all__ = ["ProgramEvaluation", "Ranking", "evaluate_programs", "rank"]

# Name -> module that defines it. These modules are imported on first use: they import the subpackages, and
# importing a subpackage runs this file first, so importing the modules here would be circular.
_MODULE_OF = {
    "ProgramEvaluation": "record",
    "Ranking": "ranking",
    "evaluate_programs": "evaluate",
    "rank": "ranking",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
