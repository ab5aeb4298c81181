"""Configuration of a backend. Only this module reads settings from environment variables."""

from __future__ import annotations

import logging
import os
import socket
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from gigaexec.checks import require_count, require_seconds
from gigaexec.errors import ConfigurationError, UnsupportedPlatformError
from gigaexec.limits import Limits, require_limits
from gigaexec.sandbox.policy import SandboxPolicy

logger = logging.getLogger(__name__)

_PREFIX = "GIGAEVO_EXECUTOR_"

DEFAULT_BACKEND_VARIABLE = _PREFIX + "BACKEND"
"""Variable with the name or URL of the default backend."""

DEFAULT_ENV_WHITELIST: frozenset[str] = frozenset(
    """
    PATH HOME USER LOGNAME SHELL TERM
    LANG LC_ALL LC_CTYPE LC_COLLATE LC_MESSAGES LC_NUMERIC LC_TIME
    PYTHONPATH PYTHONDONTWRITEBYTECODE PYTHONUNBUFFERED PYTHONHASHSEED
    VIRTUAL_ENV CONDA_PREFIX CONDA_DEFAULT_ENV PYENV_ROOT
    LD_LIBRARY_PATH LD_PRELOAD
    CUDA_HOME CUDA_PATH CUDA_VISIBLE_DEVICES NVIDIA_VISIBLE_DEVICES
    JAX_PLATFORMS JAX_TRACEBACK_FILTERING
    TMPDIR TEMP TMP
    OMP_NUM_THREADS MKL_NUM_THREADS NUMEXPR_NUM_THREADS OPENBLAS_NUM_THREADS VECLIB_MAXIMUM_THREADS
    """.split()  # noqa: SIM905 - grouped lines read better than forty quoted names
)
"""Default names of the environment variables that workers see."""

DEFAULT_ENV_PREFIXES: tuple[str, ...] = ("GIGAEVO_", "LOKY_")
"""Default prefixes of the names of further environment variables that workers see."""

_SECRET_WORDS = ("KEY", "TOKEN", "SECRET", "PASSWORD")

_THREAD_COUNT_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)

_T = TypeVar("_T")


def default_spill_dir() -> Path:
    """Return the path `$TMPDIR/gigaevo-<uid>`, in which `<uid>` is the id of this user."""
    return Path(tempfile.gettempdir()) / f"gigaevo-{os.getuid()}"


def allowed_cpu_count() -> int:
    """Return the number of CPUs that this process may use: the size of its affinity mask."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


def default_max_workers() -> int:
    """Return the number of usable CPUs; under pytest-xdist, this process's share of them, at least 1."""
    xdist_workers = read_variable("PYTEST_XDIST_WORKER_COUNT", _positive_int, "a positive whole number") or 1
    return max(1, allowed_cpu_count() // xdist_workers)


def require_supported_platform() -> None:
    """Raise an error on Windows.

    Raises:
        UnsupportedPlatformError: This platform is Windows.
    """
    if sys.platform == "win32":
        raise UnsupportedPlatformError("gigaexec runs on Linux and macOS; on Windows, run it inside WSL 2.")


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """Configuration of a backend. Checked on creation.

    Args:
        max_workers: Number of calls that run at once. None is the number of CPUs that this process may use
            (under pytest-xdist, divided by the number of xdist workers).
        idle_timeout_s: Seconds without work after which a worker ends.
        spill_dir: Folder for large results, created with mode 0700 on first use. Default:
            `$TMPDIR/gigaevo-<uid>`. `~` and `..` are resolved.
        env_whitelist: Names of environment variables that workers see.
        env_prefixes: Prefixes of the names of further environment variables that workers see. Prefixes do not
            match names of gigaexec's own settings (GIGAEVO_EXECUTOR_...), nor names that contain KEY, TOKEN,
            SECRET or PASSWORD in any case. Add such a name to `env_whitelist` if workers need the variable.
        enable_pdeathsig: True to have the kernel kill a worker as soon as the driver thread that started the
            worker ends (`PR_SET_PDEATHSIG`, Linux only). Workers end with the driver process in any case.
        pool_id: Name of the pool in logs, without "/"; unique by default.
        node_id: Name of this machine or pod in metrics and in the workers' environment. Default: the host
            name.
        max_calls_per_worker: Number of calls after which a reused worker is replaced; None is no limit.
        max_worker_rss_mb: Limit on the resident memory of a reused worker after a call, MiB. A worker above
            the limit is replaced. None is no limit.
        start_timeout_s: Seconds after which the start of a worker process counts as failed.
        captured_output_bytes: Maximum number of bytes of stdout that are kept for each call; the same maximum
            applies to stderr. Of a longer stream, the beginning (an eighth of this number) and the end are
            kept.
        limits: Limits of each call; the limits given with a call replace them. Default: no limits.
        sandbox: Confinement of programs. Default: off. Only `ForkserverBackend` can confine programs.
        preload: Modules that worker processes import before their first call, such as "numpy". If a module
            cannot be imported, every call fails with a `WorkerStartError` that contains the reason.

    Raises:
        ConfigurationError: A value is out of range or of the wrong type. The error is also a `ValueError`.
    """

    max_workers: int | None = None
    idle_timeout_s: float = 300
    spill_dir: Path = field(default_factory=default_spill_dir)
    env_whitelist: frozenset[str] = DEFAULT_ENV_WHITELIST
    env_prefixes: tuple[str, ...] = DEFAULT_ENV_PREFIXES
    enable_pdeathsig: bool = True
    pool_id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    node_id: str = field(default_factory=socket.gethostname)
    max_calls_per_worker: int | None = None
    max_worker_rss_mb: int | None = None
    start_timeout_s: float = 60.0
    captured_output_bytes: int = 64 * 1024
    limits: Limits = field(default_factory=Limits)
    sandbox: SandboxPolicy = field(default_factory=SandboxPolicy)
    preload: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("max_workers", "max_calls_per_worker", "max_worker_rss_mb"):
            if getattr(self, name) is not None:
                require_count(name, getattr(self, name))
        require_seconds("idle_timeout_s", self.idle_timeout_s)
        require_seconds("start_timeout_s", self.start_timeout_s)
        require_count("captured_output_bytes", self.captured_output_bytes)
        object.__setattr__(self, "spill_dir", _resolved(self.spill_dir))
        if not isinstance(self.enable_pdeathsig, bool):
            raise ConfigurationError(f"enable_pdeathsig must be True or False, not {self.enable_pdeathsig!r}")
        object.__setattr__(self, "env_whitelist", _as_names(self.env_whitelist))
        object.__setattr__(self, "env_prefixes", _as_prefixes(self.env_prefixes))
        object.__setattr__(self, "preload", _as_module_names(self.preload))
        require_limits(self.limits)
        if not isinstance(self.sandbox, SandboxPolicy):
            raise ConfigurationError(f"sandbox must be a SandboxPolicy, not {self.sandbox!r:.80}")
        for name in ("pool_id", "node_id"):
            value = getattr(self, name)
            forbidden = ("\0", "/") if name == "pool_id" else ("\0",)
            if not isinstance(value, str) or not value or any(each in value for each in forbidden):
                without = "'/' and NUL" if name == "pool_id" else "NUL"
                raise ConfigurationError(
                    f"{name} must be a non-empty string without {without}, not {value!r}"
                )

    @classmethod
    def from_env(cls) -> WorkerConfig:
        """Make a configuration from the `GIGAEVO_EXECUTOR_*` variables of the environment.

        An empty variable counts as unset. If the value of a variable is wrong, a warning that names the
        variable is logged, and the default is used.
        """
        settings = {
            "max_workers": read_variable(_PREFIX + "MAX_WORKERS", _positive_int, "a positive whole number"),
            "idle_timeout_s": read_variable(
                _PREFIX + "IDLE_TIMEOUT_S", _positive_int, "a positive whole number"
            ),
            "spill_dir": read_variable(_PREFIX + "SPILL_DIR", _path, "a path"),
            "node_id": read_variable(_PREFIX + "NODE_ID", str, "a name"),
        }
        if read_variable(
            _PREFIX + "DISABLE_PDEATHSIG", _switch, "one of 1, true, yes, on, 0, false, no, off"
        ):
            settings["enable_pdeathsig"] = False
        given: dict[str, Any] = {name: value for name, value in settings.items() if value is not None}
        return cls(**given)

    @property
    def worker_count(self) -> int:
        """Number of calls that run at once: `max_workers`, or its default."""
        return self.max_workers if self.max_workers is not None else default_max_workers()

    def worker_environment(self) -> dict[str, str]:
        """Return the environment of the workers: the variables of this process that they may see.

        If there are several workers, variables such as `OMP_NUM_THREADS` that are unset get a worker's share
        of the CPUs as value. Otherwise the numerical libraries of every worker would start a thread for each
        CPU, and all workers would be several times slower.
        """
        environment = {
            name: value
            for name, value in os.environ.items()
            if name in self.env_whitelist or (name.startswith(self.env_prefixes) and not _is_private(name))
        }
        workers = self.worker_count
        if workers > 1:
            share = str(max(1, allowed_cpu_count() // workers))
            for name in self.env_whitelist.intersection(_THREAD_COUNT_VARIABLES):
                environment.setdefault(name, share)
        return environment


def _is_private(name: str) -> bool:
    """True if a variable is for the driver only, or if its value may be a secret."""
    return name.startswith(_PREFIX) or any(word in name.upper() for word in _SECRET_WORDS)


def _resolved(folder: Any) -> Path:
    if not isinstance(folder, str | Path) or not str(folder) or "\0" in str(folder):
        raise ConfigurationError(f"spill_dir must be a non-empty path without NUL, not {folder!r}")
    return Path(folder).expanduser().resolve()


def _as_names(names: object) -> frozenset[str]:
    # A str is iterable too: without this check, each of its letters would become a name.
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise ConfigurationError(f"env_whitelist must be a set of names, not {names!r}")
    found = frozenset(names)
    wrong = sorted(repr(name) for name in found if not isinstance(name, str))
    if wrong:
        raise ConfigurationError(f"env_whitelist must contain only strings, not {', '.join(wrong)}")
    return found


def _as_prefixes(prefixes: object) -> tuple[str, ...]:
    if isinstance(prefixes, str) or not isinstance(prefixes, tuple | list):
        raise ConfigurationError(f"env_prefixes must be a tuple of strings, not {prefixes!r}")
    if not all(isinstance(prefix, str) and prefix for prefix in prefixes):
        raise ConfigurationError(
            f"env_prefixes must contain only non-empty strings ('' would match every name), not {prefixes!r}"
        )
    return tuple(prefixes)


def _as_module_names(names: object) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise ConfigurationError(f"preload must be a list of module names, not {names!r:.80}")
    found = tuple(names)
    for name in found:
        if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
            raise ConfigurationError(
                f"preload must contain only module names such as 'numpy', not {name!r:.80}"
            )
    return found


def read_variable(variable: str, parse: Callable[[str], _T], expected: str) -> _T | None:
    """Return the parsed value of an environment variable; None if the variable is unset, empty or wrong.

    Args:
        variable: Name of the variable.
        parse: Converts the text to the value. If it raises ValueError, a warning is logged.
        expected: Description of the texts that `parse` accepts, for the log message.
    """
    text = os.environ.get(variable, "").strip()
    if not text:
        return None
    try:
        return parse(text)
    except ValueError:
        logger.warning("%s is %r, which is not %s; the default is used", variable, text, expected)
        return None


def _positive_int(text: str) -> int:
    value = int(text)
    if value <= 0:
        raise ValueError(text)
    return value


def _path(text: str) -> Path:
    if "\0" in text:
        raise ValueError(text)
    return Path(text)


def _switch(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError(text)
