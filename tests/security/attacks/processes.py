"""Attacks on other processes, and processes that outlive their call."""

from __future__ import annotations

import signal

from tests.security.attack import (
    NEITHER,
    NO_NAMESPACES,
    NOWHERE,
    OFF,
    Attack,
    changed,
    driver_got,
    survived,
    took_longer_than,
    victim_died,
)


def _hits_victim(name: str, what: str, body: str) -> Attack:
    """Return an attack on the target process. PID namespace and Landlock each stop it alone."""
    return Attack(name, what, f"def attack(at): {body}", victim_died, through=NEITHER, needs_victim=True)


_SLEEPER = "os.execv('/bin/sleep', [at['marker'], '100'])"

PROCESSES = (
    _hits_victim("kill", "kill a process of the same user", "os.kill(at['victim'], 9)"),
    _hits_victim("stop", "stop a process of the same user", "os.kill(at['victim'], 19)"),
    _hits_victim("kill-group", "kill a process group of the same user", "os.killpg(at['victim'], 9)"),
    _hits_victim(
        "tgkill", "kill a thread of another process with tgkill", "C.tgkill(at['victim'], at['victim'], 9)"
    ),
    _hits_victim(
        "sigqueue", "kill a process of the same user with sigqueue", "C.sigqueue(at['victim'], 9, None)"
    ),
    _hits_victim(
        "pidfd-signal",
        "kill a process of the same user by pidfd",
        "signal.pidfd_send_signal(os.pidfd_open(at['victim']), 9)",
    ),
    Attack(
        "signal-by-file-owner",
        "make a process of the same user the owner of a pipe, whose events send it SIGKILL",
        """
        def attack(at):
            reader, writer = os.pipe()
            fcntl.fcntl(reader, fcntl.F_SETOWN, at['victim'])
            fcntl.fcntl(reader, 10, 9)
            fcntl.fcntl(reader, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
            os.write(writer, b'x')
            time.sleep(0.05)
        """,
        victim_died,
        through=NEITHER,
        needs_victim=True,
    ),
    Attack(
        "kill-all",
        "send a signal to all processes",
        """
        def attack(at):
            if os.getppid() > 1:
                return  # it would reach too much
            os.kill(-1, signal.SIGUSR2)
        """,
        driver_got(signal.SIGUSR2),
        through=NOWHERE,
    ),
    Attack(
        "signal-driver",
        "send a signal to the driver",
        "def attack(at): os.kill(at['driver'], signal.SIGUSR1)",
        driver_got(signal.SIGUSR1),
        through=NEITHER,
    ),
    Attack(
        "signal-channel-peer",
        "send a signal to the driver by the pidfd of the channel's peer",
        """
        def attack(at):
            peer = channel().getsockopt(socket.SOL_SOCKET, 77)  # SO_PEERPIDFD
            signal.pidfd_send_signal(peer, signal.SIGWINCH)
        """,
        driver_got(signal.SIGWINCH),
        through=NOWHERE,
        depends=NEITHER,
    ),
    Attack(
        "kill-supervisor",
        "kill the call's supervisor, and leave a daemon",
        f"""
        def attack(at):
            daemon(lambda: {_SLEEPER})
            for number in (9, 15, 29, 11):
                attempts(lambda: os.kill(supervisor(), number))
            time.sleep(0.2)
        """,
        survived,
        through=NOWHERE,
        depends=NEITHER,
    ),
    Attack(
        "stop-supervisor",
        "stop the call's supervisor, then answer",
        """
        def attack(at):
            attempts(lambda: os.kill(supervisor(), signal.SIGSTOP))
        """,
        took_longer_than(5.0),
        through=NOWHERE,
    ),
    Attack(
        "trace-supervisor",
        "trace the call's supervisor",
        """
        def attack(at):
            if call(at['calls']['ptrace'], 0x4206, supervisor(), 0, 0) == 0:  # PTRACE_SEIZE
                open(at['marker_file'], 'w')
        """,
        changed,
        through=NOWHERE,
        depends=OFF | NEITHER,
    ),
    Attack(
        "take-descriptor",
        "copy a descriptor of the call's supervisor",
        """
        def attack(at):
            if call(at['calls']['pidfd_getfd'], os.pidfd_open(supervisor()), 0, 0) >= 0:
                open(at['marker_file'], 'w')
        """,
        changed,
        through=NOWHERE,
        depends=OFF | NEITHER,
    ),
    Attack(
        "limits-of-other",
        "change another process's limits",
        "def attack(at): resource.prlimit(at['victim'], resource.RLIMIT_NOFILE, (10, 10))",
        changed,
        through=NOWHERE,
        needs_victim=True,
    ),
    Attack(
        "priority-of-other",
        "change another process's priority",
        "def attack(at): os.setpriority(os.PRIO_PROCESS, at['victim'], 19)",
        changed,
        through=NOWHERE,
        needs_victim=True,
    ),
    Attack(
        "affinity-of-other",
        "change another process's CPU affinity",
        "def attack(at): os.sched_setaffinity(at['victim'], {min(os.sched_getaffinity(0))})",
        changed,
        through=NOWHERE,
        depends=NO_NAMESPACES,
        needs_victim=True,
    ),
    Attack(
        "daemon",
        "leave a daemon: two forks, a new session, no inherited descriptor",
        f"def attack(at): daemon(lambda: {_SLEEPER})",
        survived,
        through=NOWHERE,
    ),
    Attack(
        "daemon-that-forks",
        "leave a daemon that forks all the time and ignores signals",
        """
        def attack(at):
            def flee():
                for number in (1, 2, 3, 10, 12, 15):
                    signal.signal(number, signal.SIG_IGN)
                end = time.monotonic() + 60
                while time.monotonic() < end:
                    if os.fork():
                        os._exit(0)
                    time.sleep(0.001)
                    if os.fork() == 0:
                        os.execv('/bin/sleep', [at['marker'], '100'])
            daemon(flee)
            time.sleep(0.05)
        """,
        survived,
        through=NOWHERE,
    ),
    Attack(
        "daemon-of-crashed-call",
        "leave a daemon, then die by SIGKILL",
        f"""
        def attack(at):
            daemon(lambda: {_SLEEPER})
            os.kill(os.getpid(), 9)
        """,
        survived,
        through=NOWHERE,
    ),
    Attack(
        "daemon-of-late-call",
        "leave a daemon, then ignore all signals until the deadline",
        f"""
        def attack(at):
            daemon(lambda: {_SLEEPER})
            for number in range(1, 32):
                attempts(lambda: signal.signal(number, signal.SIG_IGN))
            time.sleep(30)
        """,
        survived,
        through=NOWHERE,
        deadline_s=0.5,
    ),
)
