"""Alias of `gigaexec.backends.contract`: the import path of that module up to version 0.1."""

from typing import TYPE_CHECKING

from gigaexec.module_aliases import replace_module

if TYPE_CHECKING:
    from gigaexec.backends.contract import (
        CompleteHandler as CompleteHandler,
        ExecutorBackend as ExecutorBackend,
        HookDispatcher as HookDispatcher,
        LifecycleObservable as LifecycleObservable,
        OutcomeBackend as OutcomeBackend,
        ShutdownHandler as ShutdownHandler,
        SubmitHandler as SubmitHandler,
        WorkerExitHandler as WorkerExitHandler,
        WorkerObservable as WorkerObservable,
        WorkerStartHandler as WorkerStartHandler,
    )

replace_module(__name__, "gigaexec.backends.contract")
