"""gigaexec runs generated Python programs, each call in a worker process with a deadline.

    >>> import gigaexec
    >>> gigaexec.run("def square(x): return x * x", "square", 12)
    144

`import gigaexec` starts no process, creates no folder and reads no environment variable. Public names
are imported on first use, except the error classes.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

from gigaexec import errors

if TYPE_CHECKING:
    from gigaexec.backends.contract import (
        ExecutorBackend as ExecutorBackend,
        LifecycleObservable as LifecycleObservable,
        OutcomeBackend as OutcomeBackend,
        WorkerObservable as WorkerObservable,
    )
    from gigaexec.backends.local.forkserver import ForkserverBackend as ForkserverBackend
    from gigaexec.backends.local.loky import LokyBackend as LokyBackend
    from gigaexec.backends.registry import make_backend as make_backend
    from gigaexec.calls import (
        CapturedOutput as CapturedOutput,
        ConfinementStep as ConfinementStep,
        ErrorKind as ErrorKind,
        ExecutionMetrics as ExecutionMetrics,
        LimitHit as LimitHit,
        Outcome as Outcome,
        OutcomeStatus as OutcomeStatus,
        WorkerCall as WorkerCall,
        WorkerError as WorkerError,
        WorkerResult as WorkerResult,
    )
    from gigaexec.config import (
        DEFAULT_ENV_PREFIXES as DEFAULT_ENV_PREFIXES,
        DEFAULT_ENV_WHITELIST as DEFAULT_ENV_WHITELIST,
        WorkerConfig as WorkerConfig,
    )
    from gigaexec.default_backend import (
        default_loky_backend as default_loky_backend,
        shutdown_executor as shutdown_executor,
    )
    from gigaexec.errors import *  # noqa: F403 - every error is public
    from gigaexec.limits import (
        Limits as Limits,
    )
    from gigaexec.runner import (
        map_calls as map_calls,
        run_call as run_call,
        run_exec_runner as run_exec_runner,
    )
    from gigaexec.sandbox.policy import (
        ResultFormat as ResultFormat,
        SandboxLevel as SandboxLevel,
        SandboxPolicy as SandboxPolicy,
    )
    from gigaexec.sync import (
        map as map,
        run as run,
    )
    from gigaexec.untrusted.log_text import sanitize_for_log as sanitize_for_log
    from gigaexec.wire.arguments_out import SharedArgument as SharedArgument
    from gigaexec.wire.data.record import DataRecord as DataRecord

__version__ = "0.1.0"

_HOMES = {
    "gigaexec.backends.contract": [
        "ExecutorBackend",
        "LifecycleObservable",
        "OutcomeBackend",
        "WorkerObservable",
    ],
    "gigaexec.backends.local.forkserver": ["ForkserverBackend"],
    "gigaexec.backends.local.loky": ["LokyBackend"],
    "gigaexec.backends.registry": ["make_backend"],
    "gigaexec.calls": [
        "CapturedOutput",
        "ConfinementStep",
        "ErrorKind",
        "ExecutionMetrics",
        "LimitHit",
        "Outcome",
        "OutcomeStatus",
        "WorkerCall",
        "WorkerError",
        "WorkerResult",
    ],
    "gigaexec.config": ["DEFAULT_ENV_PREFIXES", "DEFAULT_ENV_WHITELIST", "WorkerConfig"],
    "gigaexec.default_backend": ["default_loky_backend", "shutdown_executor"],
    "gigaexec.errors": [name for name in vars(errors) if name.endswith("Error")],
    "gigaexec.limits": ["Limits"],
    "gigaexec.runner": ["map_calls", "run_call", "run_exec_runner"],
    "gigaexec.sandbox.policy": ["ResultFormat", "SandboxLevel", "SandboxPolicy"],
    "gigaexec.sync": ["map", "run"],
    "gigaexec.untrusted.log_text": ["sanitize_for_log"],
    "gigaexec.wire.arguments_out": ["SharedArgument"],
    "gigaexec.wire.data.record": ["DataRecord"],
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

# `map` is left out: `from gigaexec import *` must not replace the builtin `map`.
__all__ = ["__version__", *sorted(_HOME_OF.keys() - {"map"})]

# The application chooses the log handlers, not this library.
logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    try:
        module = _HOME_OF[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
