"""Keep the former import paths of modules that were moved."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Mapping


def replace_module(alias: str, original: str, *, merged: Mapping[str, str] | None = None) -> None:
    """Put the module `original` into `sys.modules` under the name `alias`. Do the same for its submodules.

    The former path and the present path then give the same module object. Otherwise the import system would
    load each file twice, and the classes of the two module objects would be unequal.

    Args:
        alias: Former path of the module: the path that is being imported.
        original: Present path of the module.
        merged: Former name of a submodule -> present path of the module that contains its code.
    """
    module = sys.modules[alias] = importlib.import_module(original)
    names = [each.name for each in pkgutil.iter_modules(getattr(module, "__path__", []))]
    submodules = {name: f"{original}.{name}" for name in names} | dict(merged or {})
    for name, place in submodules.items():
        submodule = sys.modules[f"{alias}.{name}"] = importlib.import_module(place)
        vars(module).setdefault(name, submodule)
