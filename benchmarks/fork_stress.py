"""Fork a driver while three backends replace workers, and check that no forked child hangs.

    python benchmarks/fork_stress.py [--backend loky] [--forks 500] [--limit 30]

Three threads run programs that end their worker, so that workers are being started, killed and disposed of at
every fork. Each child shuts the inherited backends down; every second child first runs a call on one of them.
The script prints one line, and exits with 1 if a child failed or did not end within `--limit` seconds. A
child that hangs prints its stacks on stderr.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import sys
import threading
import time
import traceback
import warnings
from typing import NoReturn

import gigaexec
from gigaexec.backends.local.base import LocalBackend

BACKENDS = {"loky": gigaexec.LokyBackend, "forkserver": gigaexec.ForkserverBackend}
EXIT = "import os\ndef f(): os._exit(1)"
VALUE = "def f(): return 5"


def keep_replacing(backend: LocalBackend, stop: threading.Event) -> None:
    """Run programs that end their worker, until `stop` is set."""
    while not stop.is_set():
        try:
            gigaexec.run(EXIT, "f", backend=backend)
        except gigaexec.ExecRunnerError:
            continue


def run_child(backends: list[LocalBackend], limit_s: float, *, runs_call: bool) -> NoReturn:
    """Use and shut down the inherited backends in a forked child, and end it."""
    faulthandler.dump_traceback_later(limit_s, exit=True)
    status = 1
    try:
        if runs_call:
            assert gigaexec.run(VALUE, "f", backend=backends[0]) == 5
        for backend in backends:
            backend.shutdown_now(wait=True)
        status = 0
    except BaseException:  # noqa: BLE001 - a forked child must not run on in the parent's code
        traceback.print_exc()
    finally:
        os._exit(status)


def wait_for(child: int, limit_s: float) -> int:
    """Wait for a child, and kill it after `limit_s` seconds. Returns its wait status."""
    limit = time.monotonic() + limit_s
    while time.monotonic() < limit:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.002)
    print(f"child {child} hangs", file=sys.stderr)
    os.kill(child, 9)
    return os.waitpid(child, 0)[1]


def count_failures(backends: list[LocalBackend], forks: int, limit_s: float) -> int:
    """Fork `forks` times, one child after another. Returns the number of children that hung or failed."""
    failures = 0
    for number in range(forks):
        child = os.fork()
        if child == 0:
            run_child(backends, limit_s, runs_call=number % 2 == 0)
        # A child that hangs in an at-fork handler has not set its own limit yet.
        failures += wait_for(child, limit_s + 5.0) != 0
    return failures


def main() -> int:
    """Run the stress test. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--backend", choices=BACKENDS, default="loky")
    parser.add_argument("--forks", type=int, default=500, help="number of forks")
    parser.add_argument("--limit", type=float, default=30.0, help="longest time for one child, seconds")
    options = parser.parse_args()
    warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of os.fork with threads
    config = gigaexec.WorkerConfig(max_workers=1)
    backends: list[LocalBackend] = [BACKENDS[options.backend](config) for _ in range(3)]
    for backend in backends:  # imports everything: at a fork, no thread may hold an import lock
        gigaexec.run(VALUE, "f", backend=backend)
    stop = threading.Event()
    threads = [threading.Thread(target=keep_replacing, args=(backend, stop)) for backend in backends]
    for thread in threads:
        thread.start()
    started_at_s = time.monotonic()
    failures = count_failures(backends, options.forks, options.limit)
    took_s = time.monotonic() - started_at_s
    stop.set()
    for thread in threads:
        thread.join()
    for backend in backends:
        backend.shutdown_now(wait=True)
    print(f"{options.forks} forks in {took_s:.1f} s: {failures} children hung or failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
