"""Find backends by name or URL. A backend is imported on first use.

Other packages add backends with the entry point group `gigaexec.backends`, see docs/how-to/add-a-backend.md.
"""

from __future__ import annotations

import importlib
import operator
from typing import Any, cast

from gigaexec.backends.contract import ExecutorBackend
from gigaexec.config import WorkerConfig
from gigaexec.errors import BackendClosedError, ConfigurationError, GigaexecError

ENTRY_POINT_GROUP = "gigaexec.backends"

_BUILT_IN = {
    "forkserver": "gigaexec.backends.local.forkserver:ForkserverBackend",
    "loky": "gigaexec.backends.local.loky:LokyBackend",
}


def make_backend(name_or_url: str, config: WorkerConfig | None = None) -> ExecutorBackend:
    """Make a backend by name, or by a URL whose scheme is the name. No worker is started.

    Args:
        name_or_url: "loky", "forkserver", or the name of a backend that an installed package adds; a URL for
            a backend on other machines.
        config: Configuration of the workers. None for `WorkerConfig.from_env()`.

    Raises:
        ConfigurationError: No backend has this name, or the backend does not take a URL, cannot be imported,
            or refuses the configuration.
    """
    name = require_backend_name(name_or_url)
    backend_class = _load(name)
    arguments = () if config is None else (config,)
    if "://" not in name_or_url:
        return cast(ExecutorBackend, backend_class(*arguments))
    from_url = getattr(backend_class, "from_url", None)
    if from_url is None:
        raise ConfigurationError(f"backend {name!r} does not take a URL, got {redacted_url(name_or_url)}")
    return cast(ExecutorBackend, from_url(name_or_url, *arguments))


def require_backend_name(name_or_url: str) -> str:
    """Return the name of the backend that a name or a URL refers to, without importing the backend.

    Raises:
        ConfigurationError: No backend has this name.
    """
    if not isinstance(name_or_url, str):
        raise ConfigurationError(
            f"backend must be a name, a URL or a backend object, not {type(name_or_url).__name__}"
        )
    name, separator, _ = name_or_url.partition("://")
    if name in _BUILT_IN or name in _added_by_packages():
        return name
    what = f"URLs that start with {name}://" if separator else repr(redacted_url(name))
    raise ConfigurationError(f"no backend for {what}; known backends: {', '.join(backend_names())}")


def backend_names() -> list[str]:
    """Return the sorted names of all installed backends, without importing the backends."""
    return sorted({*_BUILT_IN, *_added_by_packages()})


def redacted_url(name_or_url: str) -> str:
    """Return a name or a URL without the credentials and the query, which may contain secrets."""
    scheme, separator, rest = name_or_url.partition("://")
    if not separator:
        scheme, rest = "", name_or_url
    # Split at the last "@": a password may contain "@", and each URL of a list may contain one.
    _, at, host = rest.rpartition("@")
    host, question_mark, _ = host.partition("?")
    return f"{scheme}{separator}{'***@' if at else ''}{host}{'?***' if question_mark else ''}"


def _load(name: str) -> Any:
    place = _BUILT_IN[name] if name in _BUILT_IN else _added_by_packages()[name]
    module, _, qualified_name = place.partition(":")
    try:
        return operator.attrgetter(qualified_name)(importlib.import_module(module))
    except GigaexecError:
        raise
    except Exception as error:  # importing another package may raise any exception
        # loky imports concurrent.futures, which cannot be imported while the interpreter exits.
        if _is_exiting():
            raise BackendClosedError("the interpreter is exiting; no call can be run any more") from error
        raise ConfigurationError(
            f"backend {name!r} cannot be imported from {place}: {type(error).__name__}: {error}"
        ) from error


def _is_exiting() -> bool:
    # Imported on demand: a driver whose calls run on other machines loads no local backend.
    from gigaexec.backends.local.interpreter_exit import interpreter_is_exiting

    return interpreter_is_exiting()


def _added_by_packages() -> dict[str, str]:
    """Return the backends that packages add by entry points: name -> "module:class"."""
    # Imported on demand, because this import takes longer than all other imports of `map_calls`.
    from importlib.metadata import entry_points

    return {each.name: f"{each.module}:{each.attr}" for each in entry_points(group=ENTRY_POINT_GROUP)}
