"""Runs calls in the template, so that its workers inherit warmed-up engine code.

CPython specialises the bytecode of a function during the first runs, and so writes to the function's memory.
In a worker, each of these writes would copy a memory page.
"""

from __future__ import annotations

import pickle
import signal
import socket
import sys

from gigaexec.sandbox.isolation import Isolation
from gigaexec.sandbox.policy import ResultFormat
from gigaexec.wire.channel import WorkerChannel
from gigaexec.wire.messages import CallHeader, Ready, encode_message, frame_prefix
from gigaexec.worker.forked.child import ChildSettings, ChildWorker
from gigaexec.worker.forked.inherited import InheritedState

# Ten calls that succeed and ten calls that fail, because a failing call takes other branches. CPython 3.11
# specialises a function or loop on the eighth run.
_PROGRAMS = ("def f(x): return x", "def f(x): raise ValueError(x)") * 10
_REPLY_BYTES = 64 * 1024


def warm_up(inherited: InheritedState, results: ResultFormat, isolation: Isolation) -> None:
    """Run some calls in this process, then restore `sys.path`, import finders and the SIGINT handler.

    Args:
        inherited: The state that workers inherit. This function sets `inherited.usual_ready`, and calls
            `inherited.renew_modules()`.
        results: Format of return values.
        isolation: The sandbox of the template. It does not confine the warm-up calls.
    """
    settings = ChildSettings("", "", folder="", scratch="", results=results, channel=-1, stdout=-1, stderr=-1)
    path, finders, handler = list(sys.path), list(sys.meta_path), signal.getsignal(signal.SIGINT)
    arguments = pickle.dumps(([1], {}), protocol=5)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = WorkerChannel(theirs)
        for code in _PROGRAMS:
            header = pickle.dumps(CallHeader(code, "f", [], {}, ""), protocol=5)
            for payload in (header, arguments):
                ours.sendall(frame_prefix(len(payload)) + payload)
            received = channel.receive()
            assert received is not None
            ChildWorker(settings, isolation, inherited).run(received, channel)
            ours.recv(_REPLY_BYTES)
    inherited.usual_ready = encode_message(Ready(steps=isolation.expected_steps))
    sys.path[:] = path
    sys.meta_path[:] = finders
    signal.signal(signal.SIGINT, handler)
    inherited.renew_modules()
