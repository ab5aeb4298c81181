"""Commands from any thread to the dispatcher's thread, and the pipe that wakes the dispatcher's thread."""

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
        # Reentrant: garbage collection may start while this thread holds the lock, and finalize a backend,
        # which calls `put`.
        self._lock = threading.RLock()
        self._is_awake = False
        self._is_closed = False
        self.reader, self._writer = os.pipe()
        """`reader` is the read end of the pipe. If `reader` is readable, commands wait: call `on_wake`."""

    def __bool__(self) -> bool:
        """True if commands wait."""
        return bool(self._commands)

    def put(self, command: Command) -> None:
        """Add a command and wake the dispatcher. After `close`, the calling thread runs the command."""
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
        """Run the waiting commands. Called on the dispatcher's thread when the pipe is readable."""
        with self._lock:
            os.read(descriptor, 1)
            self._is_awake = False
        self.run_all()

    def run_all(self) -> None:
        """Run all waiting commands, in order."""
        while True:
            try:
                command = self._commands.popleft()
            except IndexError:
                return
            command()

    def close(self, when_closed: Command) -> None:
        """Close the inbox at the end of the dispatcher's thread: run the waiting commands and close the pipe.

        Args:
            when_closed: Called just before the inbox is marked as closed. From then on, `put` runs commands
                on the caller's thread.
        """
        with self._lock:
            when_closed()
            self._is_closed = True
        self.run_all()
        self.close_pipe()

    def close_pipe(self) -> None:
        """Close the pipe. Takes no lock, because another thread may have held the lock at a fork."""
        os.close(self.reader)
        os.close(self._writer)


def _do_nothing() -> None:
    pass
