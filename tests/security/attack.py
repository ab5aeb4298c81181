"""An attack: a program, and a check in the driver whether it succeeded."""

from __future__ import annotations

import enum
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gigaexec import Limits, Outcome

if TYPE_CHECKING:
    from tests.security.targets import Targets


class Where(enum.StrEnum):
    """A sandbox preset and a kind of machine."""

    OFF = "off"
    STANDARD = "standard"
    STRICT = "strict"
    NETWORK = "standard, network allowed"
    NO_NAMESPACES = "standard without namespaces"
    NO_LANDLOCK = "standard without Landlock"
    NEITHER = "standard without both"


CONFINED = frozenset({Where.STANDARD, Where.STRICT, Where.NETWORK})
ALL_CONFINED = frozenset(Where) - {Where.OFF}
NO_NAMESPACES = frozenset({Where.NO_NAMESPACES, Where.NEITHER})
NO_LANDLOCK = frozenset({Where.NO_LANDLOCK, Where.NEITHER})
OFF = frozenset({Where.OFF})
NETWORK = frozenset({Where.NETWORK})
NEITHER = frozenset({Where.NEITHER})
NOWHERE: frozenset[Where] = frozenset()


class Verdict(enum.StrEnum):
    """The required result of an attack."""

    THROUGH = "gets through"
    STOPPED = "stopped"
    DEPENDS = "depends"
    """The result depends on the machine and the user, so nothing is asserted."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attack that was run.

    Args:
        targets: The files, servers and processes that the attack tries to reach.
        outcome: The outcome of its last call.
        took_s: Duration of its last call in seconds.
        driver_cpu_s: CPU time of the driver during its last call in seconds.
    """

    targets: Targets
    outcome: Outcome
    took_s: float
    driver_cpu_s: float


@dataclass(frozen=True, slots=True)
class Attack:
    """A program that tries to break out of the sandbox. It does no harm if it succeeds.

    Args:
        id: Two or three words, unique among the attacks.
        what: The action that it tries, for the tables of docs/security-attacks.md.
        program: Source that defines `attack(at)`; `PRELUDE` is put before it.
        got_through: Checks in the driver whether the attack succeeded.
        through: Where the attack must succeed, for every user.
        depends: Where nothing is asserted, because the result depends on the machine or the user.
        then: A second program, run after the first one. `at["earlier"]` is the first one's return value.
        deadline_s: Deadline of each call in seconds.
        limits: Limits of each call.
        tried: Where the attack is run; None means everywhere.
        needs_victim: True if the driver must start a target process for the attack.
        is_alone: True if it runs alone after the other attacks, because it would disturb them.
    """

    id: str
    what: str
    program: str
    got_through: Callable[[Attempt], bool]
    through: frozenset[Where] = OFF
    depends: frozenset[Where] = NOWHERE
    then: str = ""
    deadline_s: float = 20.0
    limits: Limits | None = None
    tried: frozenset[Where] | None = None
    needs_victim: bool = False
    is_alone: bool = False

    def is_tried(self, where: Where) -> bool:
        return self.tried is None or where in self.tried

    def verdict(self, where: Where) -> Verdict:
        if where in self.depends:
            return Verdict.DEPENDS
        return Verdict.THROUGH if where in self.through else Verdict.STOPPED

    def sources(self) -> list[str]:
        """Return the programs of the attack's calls, in order."""
        return [PRELUDE + textwrap.dedent(source) for source in (self.program, self.then) if source]


# Put before every program. `call` makes a system call by number and returns its result or -errno.
PRELUDE = '''
import ctypes, errno, fcntl, glob, json, mmap, os, pickle, re, resource, select, signal, socket, struct
import subprocess, sys, tempfile, threading, time

C = ctypes.CDLL(None, use_errno=True)

def call(number, *arguments):
    converted = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result = C.syscall(ctypes.c_long(number), *converted)
    return result if result >= 0 else -ctypes.get_errno()

def read(path, **where):
    descriptor = os.open(path, os.O_RDONLY, **where)
    try:
        return os.read(descriptor, 1 << 16).decode("latin-1")
    finally:
        os.close(descriptor)

def attempts(*functions):
    """Return the result of each function, or its error as text."""
    results = []
    for function in functions:
        try:
            results.append(function())
        except Exception as error:
            results.append(f"{type(error).__name__}: {error}")
    return results

def other_pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]

def supervisor():
    """Return the pid of PID 1 of this call's namespace, or of the supervisor if there is no namespace."""
    return os.getppid() or 1

def daemon(action):
    """Run `action` in a daemon: two forks, a new session, no inherited descriptor."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 1024)
            for _ in range(3):
                os.open("/dev/null", os.O_RDWR)
            action()
        os._exit(0)
    os.wait()

# The worker's channel to the driver, which carries results.

def channel():
    for number in map(int, os.listdir("/proc/self/fd")):
        try:
            if number > 2 and os.readlink(f"/proc/self/fd/{number}").startswith("socket:"):
                return socket.socket(fileno=number)
        except OSError:
            pass
    raise RuntimeError("no channel")

def send(facts, inline=b"", descriptors=()):
    header = json.dumps(facts).encode()
    payload = struct.pack("!I", len(header)) + header + inline
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(descriptors)}i", *descriptors))]
    connection = channel()
    frame = struct.pack("!Q", len(payload)) + payload
    try:
        while not (sent := attempts_to_send(connection, frame, rights if descriptors else [])):
            time.sleep(0.01)
        connection.sendall(frame[sent:])
    finally:
        connection.detach()

def attempts_to_send(connection, frame, rights):
    try:
        return connection.sendmsg([frame], rights)
    except OSError as error:
        if error.errno != errno.ETOOMANYREFS:  # another attack has all descriptors in flight
            raise
        return 0

def result(layout=None, error=None, is_inline=False, spill_path=None, cpu_s=0.0, file_number=None):
    """Return a result message with forged fields."""
    names = METRICS
    claims = {"worker_id": "forged", "node_id": "forged", "user_time_s": cpu_s, "wall_time_s": 1e9,
              "started_at_ns": 1, "finished_at_ns": 2**62}
    metrics = [claims.get(name, 0) for name in names]
    return {"result": {"error": error, "metrics": metrics, "layout": layout, "is_inline": is_inline,
                       "spill_path": spill_path, "retire_reason": "", "file_number": file_number,
                       "warning": ""}}

def forge_value(value, **claims):
    """Send a result instead of the worker."""
    from gigaexec.wire.data.encoder import encode_data
    head = bytes(encode_data(value).head)
    send(result(["data", len(head), [], len(head)], is_inline=True, **claims), head)
'''


# Checks of an attempt: True if the attack succeeded.


def leaked(attempt: Attempt) -> bool:
    """Return True if the value or the output contains the secret."""
    outcome = attempt.outcome
    return attempt.targets.secret in f"{outcome.value!r} {outcome.output.stdout} {outcome.output.stderr}"


def changed(attempt: Attempt) -> bool:
    """Return True if a target outside the scratch folder has changed."""
    return attempt.targets.has_changed()


def received(attempt: Attempt) -> bool:
    """Return True if a server of the driver received the attack's marker."""
    return attempt.targets.was_received()


def said_so(attempt: Attempt) -> bool:
    """Return True if the program returned True. Programs with this check detect their success themselves."""
    return attempt.outcome.value is True


def victim_died(attempt: Attempt) -> bool:
    return attempt.targets.has_victim_ended()


def driver_got(signal_number: int) -> Callable[[Attempt], bool]:
    """Return a check whether the driver received the signal, which no other attack sends."""

    def check(attempt: Attempt) -> bool:
        return attempt.targets.was_driver_sent(signal_number)

    return check


def marker_was_made(attempt: Attempt) -> bool:
    """Return True if the driver ran code of the program, which creates the marker file."""
    return attempt.targets.has_marker()


def survived(attempt: Attempt) -> bool:
    """Return True if a process of the program outlives its call."""
    return attempt.targets.has_survivors()


def ended_ok(attempt: Attempt) -> bool:
    return attempt.outcome.ok


def ended_not_as(*statuses: str) -> Callable[[Attempt], bool]:
    """Return a check: the call ended with none of these statuses, or a process of the program outlives it."""

    def check(attempt: Attempt) -> bool:
        return attempt.outcome.status not in statuses or survived(attempt)

    return check


def took_longer_than(limit_s: float) -> Callable[[Attempt], bool]:
    def check(attempt: Attempt) -> bool:
        return attempt.took_s > limit_s

    return check


def used_driver_cpu(limit_s: float) -> Callable[[Attempt], bool]:
    def check(attempt: Attempt) -> bool:
        return attempt.driver_cpu_s > limit_s

    return check


def any_of(*checks: Callable[[Attempt], bool]) -> Callable[[Attempt], bool]:
    def check(attempt: Attempt) -> bool:
        return any(each(attempt) for each in checks)

    return check
