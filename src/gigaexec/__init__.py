"""gigaexec runs generated Python programs, each call in a worker process with a deadline.

    >>> import gigaexec
    >>> gigaexec.run("def square(x): return x * x", "square", 12)
    144

Importing it starts nothing, makes no directory and reads no environment. Names load on first use.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gigaexec.backend import (
        ExecutorBackend as ExecutorBackend,
        LifecycleObservable as LifecycleObservable,
        OutcomeBackend as OutcomeBackend,
    )
    from gigaexec.backends.loky import (
        LokyBackend as LokyBackend,
    )
    from gigaexec.calls import (
        CapturedOutput as CapturedOutput,
        ErrorKind as ErrorKind,
        ExecutionMetrics as ExecutionMetrics,
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
    from gigaexec.errors import (
        BackendClosedError as BackendClosedError,
        CallCancelledError as CallCancelledError,
        CallError as CallError,
        CallTimeoutError as CallTimeoutError,
        ConfigurationError as ConfigurationError,
        ExecRunnerError as ExecRunnerError,
        GigaexecError as GigaexecError,
        InfrastructureError as InfrastructureError,
        InvalidCallError as InvalidCallError,
        MemoryExceededError as MemoryExceededError,
        MissingExtraError as MissingExtraError,
        OutputExceededError as OutputExceededError,
        QueueTimeoutError as QueueTimeoutError,
        SpillDirectoryError as SpillDirectoryError,
        SpillError as SpillError,
        UnsupportedPlatformError as UnsupportedPlatformError,
        ValueNotPicklableError as ValueNotPicklableError,
        ValueNotReadableError as ValueNotReadableError,
        WorkerCrashedError as WorkerCrashedError,
        WorkerStartError as WorkerStartError,
    )
    from gigaexec.runner import (
        default_loky_backend as default_loky_backend,
        map_calls as map_calls,
        run_call as run_call,
        run_exec_runner as run_exec_runner,
        shutdown_executor as shutdown_executor,
    )
    from gigaexec.sync import (
        map as map,
        run as run,
    )

__version__ = "0.1.0"

_HOMES = {
    "gigaexec.backend": ["ExecutorBackend", "LifecycleObservable", "OutcomeBackend"],
    "gigaexec.backends.loky": ["LokyBackend"],
    "gigaexec.calls": [
        "CapturedOutput",
        "ErrorKind",
        "ExecutionMetrics",
        "Outcome",
        "OutcomeStatus",
        "WorkerCall",
        "WorkerError",
        "WorkerResult",
    ],
    "gigaexec.config": ["DEFAULT_ENV_PREFIXES", "DEFAULT_ENV_WHITELIST", "WorkerConfig"],
    "gigaexec.errors": [
        "BackendClosedError",
        "CallCancelledError",
        "CallError",
        "CallTimeoutError",
        "ConfigurationError",
        "ExecRunnerError",
        "GigaexecError",
        "InfrastructureError",
        "InvalidCallError",
        "MemoryExceededError",
        "MissingExtraError",
        "OutputExceededError",
        "QueueTimeoutError",
        "SpillDirectoryError",
        "SpillError",
        "UnsupportedPlatformError",
        "ValueNotPicklableError",
        "ValueNotReadableError",
        "WorkerCrashedError",
        "WorkerStartError",
    ],
    "gigaexec.runner": [
        "default_loky_backend",
        "map_calls",
        "run_call",
        "run_exec_runner",
        "shutdown_executor",
    ],
    "gigaexec.sync": ["map", "run"],
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

# Without `map`: a star import must not replace the builtin.
__all__ = ["__version__", *sorted(_HOME_OF.keys() - {"map"})]

# A library leaves the choice of handlers to the application.
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
