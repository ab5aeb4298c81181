"""A check that the optional packages of stages and problems are installed."""

from __future__ import annotations

import importlib

from gigaexec.errors import MissingExtraError

# Import name -> the package's name, for the message.
_PACKAGES = {"pydantic": "pydantic", "yaml": "PyYAML"}


def require_stages_extra() -> None:
    """Return if every package of the extra `stages` can be imported.

    Raises:
        MissingExtraError: A package is missing; the message names it and the command that installs it.
    """
    for module, package in _PACKAGES.items():
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise MissingExtraError(
                f'stages and problems need {package}, which is not installed: pip install "gigaexec[stages]"'
            ) from error
