"""Former import paths of modules that moved."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Mapping


def replace_module(alias: str, original: str, *, merged: Mapping[str, str] | None = None) -> None:
    """Make an alias the original module, and the submodules of the alias those of the original.

    Entries of `sys.modules` do both. A second module object would have classes unequal to those of the first:
    the import system, which does not know that two names mean one file, would load the file twice.

    Args:
        alias: The former path, which is being imported.
        original: The path where the module is now.
        merged: Former name of a submodule -> path of the module in which its content is now.
    """
    module = sys.modules[alias] = importlib.import_module(original)
    names = [each.name for each in pkgutil.iter_modules(getattr(module, "__path__", []))]
    submodules = {name: f"{original}.{name}" for name in names} | dict(merged or {})
    for name, place in submodules.items():
        submodule = sys.modules[f"{alias}.{name}"] = importlib.import_module(place)
        vars(module).setdefault(name, submodule)
