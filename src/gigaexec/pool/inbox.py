"""Commands from any thread to the dispatcher's, and the pipe that wakes it."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable

Command = Callable[[], None]


class Inbox:
    """A queue of commands that a selector can wait for.

    Raises:
        OSError: No descriptor is free.
    """

    def __init__(self) -> None:
        self._commands: deque[Command] = deque()
        # Reentrant: garbage collection may start on this thread at any point and finalize a backend, which
        # puts a command here.
        self._lock = threading.RLock()
        self._is_awake = False
        self._is_closed = False
        self.reader, self._writer = os.pipe()
        """`reader` is readable when there are commands. Call `on_wake` then."""

    def __bool__(self) -> bool:
        """True if commands wait."""
        return bool(self._commands)

    def put(self, command: Command) -> None:
        """Add a command and wake the dispatcher. After `close`, run it at once on the caller's thread."""
        with self._lock:
            self._commands.append(command)
            if not self._is_awake and not self._is_closed:
                self._is_awake = True  # one byte is enough for any number of commands
                os.write(self._writer, b"\0")
        if self._is_closed:
            self.run_all()

    def wake(self) -> None:
        """Wake the dispatcher without a command."""
        self.put(_do_nothing)

    def on_wake(self, descriptor: int, _: int) -> None:
        """Run the commands that wait. On the dispatcher's thread."""
        with self._lock:
            os.read(descriptor, 1)
            self._is_awake = False
        self.run_all()

    def run_all(self) -> None:
        """Run every command that waits."""
        while True:
            try:
                command = self._commands.popleft()
            except IndexError:
                return
            command()

    def close(self, when_closed: Command) -> None:
        """Close the inbox when no dispatcher reads it any more: run the waiting commands and close the pipe.

        Args:
            when_closed: Called just before `put` begins to run commands on the caller's thread.
        """
        with self._lock:
            when_closed()
            self._is_closed = True
        self.run_all()
        self.close_pipe()

    def close_pipe(self) -> None:
        """In a forked child: close the descriptors without the lock, which another thread may have held."""
        os.close(self.reader)
        os.close(self._writer)


def _do_nothing() -> None:
    pass
