"""Makes a PID namespace for each call, with an init: PID 1 of the namespace.

    template --fork--> init maker --clone--> init        PID 1 of a call's namespace: it only waits
       |   <--- pidfd ---'        --clone--> init
       '--fork into the namespace of an init--> worker

When PID 1 of a namespace ends, the kernel kills all other processes of the namespace, daemons included.

An init runs only one system call, pause(2). The init ignores SIGCHLD, so the kernel reaps the orphans that
the init adopts. So an init can share the memory of the init maker (CLONE_VM), and making an init takes a
tenth of the time of a fork. Programs run in the namespace of an init, so they might read the memory of the
init. Therefore the init maker is a separate process that holds no secrets.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import select
import signal
import socket
from typing import NoReturn

from gigaexec.sandbox import namespaces
from gigaexec.wire.descriptors import DescriptorsLostError, receive_with_descriptors, send_with_descriptors
from gigaexec.worker.bootstrap import close_all_but
from gigaexec.worker.death import die_with_parent

_CLONE_VM = 0x00000100  # linux/sched.h
_STACK_BYTES = 16 * 1024  # enough for an init, which runs only one system call
# The template sends this byte to request one more init. The init maker sends it together with a pidfd.
_WANTED = b"+"
_MAKER_LIMIT_S = 5.0


class InitsEndedError(Exception):
    """No more inits can be made, because the init maker has ended or hangs."""


class NamespaceInits:
    """The template's side of the connection to the init maker process.

    Call `start` before the template loads anything else, so that the init maker inherits no secrets.
    """

    def __init__(self, maker: socket.socket, maker_pid: int) -> None:
        self._maker_socket = maker
        self._poll = select.poll()
        self._poll.register(maker, select.POLLIN)
        # Inits also keep the maker's socket open, so the socket reports no end of file when the maker has
        # ended. Only this pidfd shows that the maker has ended.
        self._maker_pidfd = os.pidfd_open(maker_pid)
        self._poll.register(self._maker_pidfd, select.POLLIN)
        self._own_pidfd = os.pidfd_open(os.getpid())
        self._last_refusal = OSError()

    @classmethod
    def start(cls) -> NamespaceInits:
        """Start the init maker, and test it by entering the namespace of a first init.

        Raises:
            OSError: The system refuses to create a PID namespace or to enter one.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        maker_pid = os.fork()
        if maker_pid == 0:
            # Inits inherit the maker's descriptors. An init must not keep the template's socket to the driver
            # open, because the driver waits for end of file on that socket.
            close_all_but({theirs.fileno()})
            _make_inits(theirs)
        theirs.close()
        inits = cls(ours, maker_pid)
        try:
            first = inits.new()
            try:
                inits.enter(first)
            finally:
                end_init(first)
            inits.leave()
        except (OSError, InitsEndedError) as error:
            ours.close()
            os.close(inits._own_pidfd)
            os.close(inits._maker_pidfd)
            if isinstance(error, InitsEndedError):
                raise OSError(errno.ECHILD, str(error)) from error
            raise
        return inits

    def new(self) -> int:
        """Return the pidfd of a new init. The caller must end the init with `end_init`.

        Raises:
            OSError: A transient shortage.
            InitsEndedError: The init maker has ended, or hangs.
        """
        # The maker makes each init one request in advance, so the first refusal may be outdated: try twice.
        return self._take() or self._take() or self._refused()

    def _take(self) -> int | None:
        ready = [number for number, _ in self._poll.poll(_MAKER_LIMIT_S * 1000)]
        if not ready:
            raise InitsEndedError(
                f"the process that makes PID namespaces did not answer within {_MAKER_LIMIT_S:g} s"
            )
        if self._maker_socket.fileno() not in ready:
            raise InitsEndedError("the process that makes PID namespaces has ended")
        try:
            text, descriptors = receive_with_descriptors(self._maker_socket, 4096)
        except DescriptorsLostError:
            self._want_another()
            raise
        if not text:
            raise InitsEndedError("the process that makes PID namespaces has ended")
        self._want_another()
        if descriptors:
            return descriptors[0]
        self._last_refusal = OSError(*json.loads(text))
        return None

    def _want_another(self) -> None:
        """Request the next init in advance, so that the init is ready when a call needs one."""
        try:
            self._maker_socket.send(_WANTED)
        except OSError as error:
            raise InitsEndedError(f"the process that makes PID namespaces has ended: {error}") from error

    def _refused(self) -> NoReturn:
        raise self._last_refusal

    def enter(self, init: int) -> None:
        """Have the next child of this process start in the PID namespace of `init`."""
        namespaces.setns(init, namespaces.NEW_PID)

    def leave(self) -> None:
        """Have the next child of this process start in this process's own PID namespace again."""
        namespaces.setns(self._own_pidfd, namespaces.NEW_PID)


def end_init(init: int) -> None:
    """Kill an init and all processes of its PID namespace, and close the pidfd `init`."""
    try:
        signal.pidfd_send_signal(init, signal.SIGKILL)
    except ProcessLookupError:
        pass  # the process has ended already
    os.close(init)


def _make_inits(template: socket.socket) -> NoReturn:
    """Run the init maker: make one init at once, and one more for each byte from the template."""
    try:
        die_with_parent()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # every init inherits the ignored SIGCHLD
        # Processes of a namespace can send their PID 1 only signals for which PID 1 has a handler. Inits must
        # not inherit Python's handler for SIGINT, because then a program could interrupt its init.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        stacks = _Stacks()
        wait_for_ever = ctypes.cast(ctypes.CDLL(None).pause, ctypes.c_void_p)
        while True:
            try:
                _send_init(template, wait_for_ever, stacks)
            except OSError as error:
                template.send(json.dumps([error.errno, error.strerror]).encode("ascii"))
            if not template.recv(1):
                os._exit(0)
    finally:
        os._exit(1)


def _send_init(template: socket.socket, wait_for_ever: ctypes.c_void_p, stacks: _Stacks) -> None:
    pid = _clone(wait_for_ever, stacks)
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)  # the kernel reaps the init, because SIGCHLD is ignored
        stacks.abandon_last()
        raise
    stacks.record_user_of_last(pidfd)
    try:
        send_with_descriptors(template, [_WANTED], [pidfd])
    except OSError:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        raise


def _clone(function: ctypes.c_void_p, stacks: _Stacks) -> int:
    """Run `function` in a new process, PID 1 of a new PID namespace. Return the pid of the new process.

    The new process shares the memory of this process.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    flags = _CLONE_VM | namespaces.NEW_PID | signal.SIGCHLD
    pid: int = libc.clone(function, ctypes.c_void_p(stacks.top_of_free()), ctypes.c_int(flags), None)
    if pid == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "clone")
    return pid


class _Stacks:
    """Memory for the stacks of inits. When an init has ended, its stack can be used again."""

    def __init__(self) -> None:
        self._free: list[mmap.mmap] = []
        self._abandoned: list[mmap.mmap] = []
        self._last: mmap.mmap | None = None
        self._used: dict[int, mmap.mmap] = {}
        self._poll = select.poll()

    def top_of_free(self) -> int:
        """Return the address just above a free stack, because stacks grow down."""
        for pidfd, _ in self._poll.poll(0):
            self._poll.unregister(pidfd)
            self._free.append(self._used.pop(pidfd))
            os.close(pidfd)
        self._last = self._free.pop() if self._free else mmap.mmap(-1, _STACK_BYTES)
        return ctypes.addressof(ctypes.c_char.from_buffer(self._last)) + _STACK_BYTES

    def abandon_last(self) -> None:
        """Never reuse the stack that `top_of_free` returned last. For an init without a pidfd.

        Without a pidfd, nothing reports when the init has ended.
        """
        assert self._last is not None
        self._abandoned.append(self._last)
        self._last = None

    def record_user_of_last(self, pidfd: int) -> None:
        """Record that the init `pidfd` uses the stack that `top_of_free` returned last."""
        assert self._last is not None
        self._used[pidfd] = self._last
        self._poll.register(pidfd, select.POLLIN)
