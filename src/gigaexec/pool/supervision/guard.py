"""A small process that outlives a driver by a moment and kills what its workers' programs left running.

    driver --- pipe: "+<worker id>", "-<worker id>" ---> guard
      | killed: the pipe ends                              | kills all processes that carry one of the ids
      X                                                    X

When a driver is killed, the kernel kills its workers, but not the processes that programs had started: those
go to init. Only another process can end them. It runs this very file, without site-packages, so that it costs
10 ms of start and a few MiB.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

logger = logging.getLogger(__name__)

_END_LIMIT_S = 10.0


class Guard:
    """The driver's end of a guard process. Used on the dispatcher's thread only."""

    def __init__(self) -> None:
        """Start the process. Raises OSError where the system refuses."""
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={},
            start_new_session=True,  # the terminal's Ctrl-C must not end it before its driver
        )

    def watch(self, worker_id: str) -> None:
        """Tell it of a worker, before that worker starts."""
        self._tell(f"+{worker_id}\n")

    def unwatch(self, worker_id: str) -> None:
        """Tell it that a worker and all its program started are dead."""
        self._tell(f"-{worker_id}\n")

    def close(self) -> None:
        """End the process and wait for it."""
        try:
            self._process.communicate(timeout=_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def close_after_fork(self) -> None:
        """In a forked child: only the parent's end may keep the guard waiting."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
        except OSError as error:
            # Somebody killed it. Calls go on; only the death of the driver itself is less well covered.
            logger.warning("the guard process is gone: %s", error)


def _wait_for_driver_end() -> set[str]:
    watched: set[str] = set()
    for line in sys.stdin:
        worker_id = line[1:].strip()
        if line.startswith("+"):
            watched.add(worker_id)
        else:
            watched.discard(worker_id)
    return watched


def main() -> None:
    """What the guard process does: wait for the end of its standard input, then kill."""
    # Not as a package: importing gigaexec and its dependencies would take ten times as long.
    sys.path.insert(0, str(Path(__file__).parent))
    import process_tree  # type: ignore[import-not-found]  # beside this file

    watched = _wait_for_driver_end()
    while watched and process_tree.kill_orphans(watched):
        pass


if __name__ == "__main__":
    main()
