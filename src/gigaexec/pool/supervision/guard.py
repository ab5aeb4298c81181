"""A small process that kills the processes of programs when the driver is killed.

    driver --- pipe: "+<worker id>", "-<worker id>" ---> guard
      | killed: the pipe ends                              | kills all processes that carry one of the ids
      X                                                    X

If the driver is killed, the kernel kills its workers, but not the processes that programs had started: the
system's init adopts these processes. Then only another process, the guard, can kill them. The guard runs
this file as a script without site-packages, so that it starts in 10 ms and takes a few MiB.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

logger = logging.getLogger(__name__)

_END_LIMIT_S = 10.0


class Guard:
    """The driver's end of a guard process. Used on the dispatcher's thread only."""

    def __init__(self) -> None:
        """Start the guard process. Raises OSError if no process can be started."""
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            bufsize=0,  # a buffered stdin has a lock, which another thread may hold when this process forks
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={},
            start_new_session=True,  # Ctrl-C in the terminal must not end the guard before the driver
        )
        assert self._process.stdin is not None
        self._stdin = self._process.stdin
        os.set_blocking(self._stdin.fileno(), False)  # the guard may be stopped, with the pipe full
        self._unsent: list[bytes] = []
        self._is_dead = False

    @property
    def pid(self) -> int:
        """Process id of the guard process."""
        return self._process.pid

    def watch(self, worker_id: str) -> None:
        """Tell the guard that a worker is about to start. Never blocks."""
        self._tell(f"+{worker_id}\n".encode())

    def unwatch(self, worker_id: str) -> None:
        """Tell the guard that a worker and all processes that its program started are dead. Never blocks."""
        start = f"+{worker_id}\n".encode()
        if start in self._unsent:
            self._unsent.remove(start)
        else:
            self._tell(f"-{worker_id}\n".encode())

    def close(self) -> None:
        """End the guard process, and wait for its end."""
        unsent, self._unsent = b"".join(self._unsent), []
        try:
            self._process.communicate(unsent, timeout=_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def close_after_fork(self) -> None:
        """Close the pipe in a forked child, so that the guard sees end of file when the parent ends."""
        self._stdin.close()
        self._process.returncode = 0  # not a child of this process, so subprocess must not wait

    def _tell(self, line: bytes) -> None:
        """Send a line. If the pipe is full, the line is sent before the next line, or by `close`."""
        if self._is_dead:
            return
        self._unsent.append(line)
        try:
            # A pipe takes a short line as a whole or not at all: write() returns None if the pipe is full.
            while self._unsent and self._stdin.write(self._unsent[0]):
                del self._unsent[0]
        except OSError as error:
            # Somebody killed the guard. Calls continue, but orphans survive if the driver is killed.
            logger.warning(
                "the guard process is dead (%s): if this process is killed, orphans may survive", error
            )
            self._is_dead = True
            self._unsent.clear()


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
    """Run the guard process: wait for end of file on stdin, then kill all processes of watched workers."""
    # process_tree is imported as a top-level module: importing the whole package would take ten times as
    # long.
    sys.path.insert(0, str(Path(__file__).parent))
    import process_tree  # type: ignore[import-not-found]  # its folder is put into sys.path above

    watched = _wait_for_driver_end()
    while watched and not process_tree.run_to_end(process_tree.kill_orphans(watched)):
        pass


if __name__ == "__main__":
    main()
