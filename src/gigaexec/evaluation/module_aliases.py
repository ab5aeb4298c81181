"""Let the submodules of a package be imported under the path that the package had before it moved."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping


def alias_submodules(alias: str, package: str, *, merged: Mapping[str, str]) -> None:
    """Make `import alias.module` give the module `package.module`, for every loaded module of the package.

    An entry in `sys.modules` ends the import of a submodule before any file is searched for. A search that
    found the file would load the module a second time, with classes unequal to those of the first.

    Args:
        alias: Name of the module that stands for the package; it is being imported.
        package: Name of the package.
        merged: Former name of a submodule -> name of the module in which its content is now.
    """
    modules = {
        name.removeprefix(f"{package}."): module
        for name, module in list(sys.modules.items())
        if name.startswith(f"{package}.")
    }
    modules |= {former: importlib.import_module(name) for former, name in merged.items()}
    for name, module in modules.items():
        sys.modules[f"{alias}.{name}"] = module
        setattr(sys.modules[alias], name, module)
