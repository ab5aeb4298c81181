"""Check that the packages of the extra `stages` are installed."""

from __future__ import annotations

import importlib

from gigaexec.errors import MissingExtraError

# Import name -> name of the package for pip, for the message.
_PACKAGES = {"pydantic": "pydantic", "yaml": "PyYAML"}


def require_stages_extra() -> None:
    """Check that every package of the extra `stages` can be imported.

    Raises:
        MissingExtraError: A package is missing. The message names the package and the command to install it.
    """
    for module, package in _PACKAGES.items():
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise MissingExtraError(
                f'stages and problems need {package}, which is not installed: pip install "gigaexec[stages]"'
            ) from error
