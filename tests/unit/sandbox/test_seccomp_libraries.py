"""Libraries that programs use keep working under the filter."""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from gigaexec.sandbox.denied_calls import denied_calls
from gigaexec.sandbox.seccomp import SeccompFilter, build_program
from tests.unit.sandbox.confined import in_child


def _square(number: int) -> int:
    return number * number


def use_numpy() -> object:
    import numpy as np

    matrix = np.random.default_rng(0).normal(size=(300, 300))
    return bool(np.allclose(matrix @ np.linalg.inv(matrix), np.eye(300)))


def use_pool_of_processes() -> object:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return pool.map(_square, range(4)) == [0, 1, 4, 9]


def use_pool_of_threads() -> object:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(_square, range(4))) == [0, 1, 4, 9]


def use_event_loop() -> object:
    async def main() -> bool:
        process = await asyncio.create_subprocess_exec("/bin/echo", "out", stdout=subprocess.PIPE)
        await asyncio.sleep(0)
        return (await process.communicate())[0] == b"out\n"

    return asyncio.run(main())


def use_subprocess() -> object:
    code = (
        "import threading, socket; socket.socketpair(); t = threading.Thread(target=int); t.start(); t.join()"
    )
    return subprocess.run([sys.executable, "-c", code], check=True).returncode == 0


@pytest.mark.parametrize(
    "use", [use_numpy, use_pool_of_processes, use_pool_of_threads, use_event_loop, use_subprocess]
)
def test_it_works_under_the_filter(use: Callable[[], object]) -> None:
    program = SeccompFilter(build_program(denied_calls()))

    def confine() -> object:
        program.install()
        return use()

    assert in_child(confine) is True


def test_names_are_looked_up_where_the_network_is_allowed() -> None:
    program = SeccompFilter(build_program(denied_calls(allow_network=True)))

    def confine() -> object:
        program.install()
        found = socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        return sorted({entry[4][0] for entry in found})

    assert "127.0.0.1" in in_child(confine)
