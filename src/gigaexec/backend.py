"""Alias of `gigaexec.backends.contract` and `gigaexec.hooks`, under the path that they had up to 0.1."""

from gigaexec.backends.contract import (
    ExecutorBackend as ExecutorBackend,
    LifecycleObservable as LifecycleObservable,
    OutcomeBackend as OutcomeBackend,
    WorkerObservable as WorkerObservable,
)
from gigaexec.hooks import (
    CompleteHandler as CompleteHandler,
    HookDispatcher as HookDispatcher,
    ShutdownHandler as ShutdownHandler,
    SubmitHandler as SubmitHandler,
    WorkerExitHandler as WorkerExitHandler,
    WorkerStartHandler as WorkerStartHandler,
)
