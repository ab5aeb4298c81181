"""The private names of loky, and of Python's multiprocessing, that `pool.starters.loky` relies on.

A release of loky may rename any of them. If a test fails here, adapt `pool/starters/loky.py`, or keep loky
below that release in pyproject.toml.
"""

from __future__ import annotations

import inspect
import multiprocessing.process
import os
import re
from typing import Any

import loky
import pytest
from loky import process_executor
from loky.backend import get_context, popen_loky_posix

from gigaexec.pool.starters import loky as starter

EXECUTOR_ATTRIBUTES = {
    "_call_queue": "its feeder thread is joined",
    "_executor_manager_thread": "it is removed from the threads that loky's exit hook joins",
    "_processes": "it is replaced by a dict that reports the started process",
}


@pytest.fixture(scope="module")
def executor() -> Any:
    """An executor with one worker, which runs a task."""
    executor = loky.ProcessPoolExecutor(max_workers=1)
    assert executor.submit(os.getpid).result(60) > 0
    yield executor
    executor.shutdown(wait=True, kill_workers=True)


@pytest.mark.parametrize("name", EXECUTOR_ATTRIBUTES)
def test_executor_attributes(executor: Any, name: str) -> None:
    assert getattr(executor, name, None) is not None, f"{loky.__version__}: {EXECUTOR_ATTRIBUTES[name]}"


def test_loky_stores_a_process_by_its_pid(executor: Any) -> None:
    ((pid, process),) = executor._processes.items()
    assert process.pid == pid
    source = inspect.getsource(process_executor.ProcessPoolExecutor._adjust_process_count)
    assert "self._processes[p.pid] = p" in source


def test_the_queue_of_calls_has_a_feeder_thread(executor: Any) -> None:
    assert executor._call_queue._thread.is_alive()


def test_the_exit_hook_finds_executors_by_their_thread(executor: Any) -> None:
    assert executor._executor_manager_thread in process_executor._threads_wakeups


def test_the_exit_hook_is_registered_unless_a_variable_is_set() -> None:
    source = inspect.getsource(process_executor.ProcessPoolExecutor._start_executor_manager_thread)
    assert "if process_pool_executor_at_exit is None:" in source
    assert hasattr(process_executor, "process_pool_executor_at_exit")


def test_a_process_that_is_being_started_passes_descriptors() -> None:
    assert callable(popen_loky_posix.Popen.duplicate_for_child)
    assert get_context("loky") is not None


def test_shutdown_can_kill_workers() -> None:
    assert "kill_workers" in inspect.signature(loky.ProcessPoolExecutor.shutdown).parameters


def test_multiprocessing_keeps_its_children_in_a_set() -> None:
    assert isinstance(vars(multiprocessing.process)["_children"], set)


def test_no_other_private_name_is_used() -> None:
    source = inspect.getsource(starter)
    known = {*EXECUTOR_ATTRIBUTES, "_thread", "_threads_wakeups"}
    own = set(re.findall(r"\bself\.(_\w+)", source)) | set(re.findall(r"(?:def|class) (_\w+)", source))
    used = set(re.findall(r"(?<!self)\.(_[a-z]\w*)", source))
    assert used - (own - known) == known, "add the private name above, with a test"
