"""Attacks that gain privileges, or weaken the sandbox from inside."""

from __future__ import annotations

from tests.security.attack import (
    ALL_CONFINED,
    NO_LANDLOCK,
    NOWHERE,
    OFF,
    Attack,
    leaked,
    said_so,
)


def _succeeds(name: str, what: str, expression: str) -> Attack:
    """Return an attack that needs root's rights in a user namespace, which some machines refuse."""
    return Attack(name, what, f"def attack(at): return {expression}", said_so, depends=OFF)


PRIVILEGES = (
    Attack(
        "capabilities",
        "hold a capability, or gain one with capset",
        """
        def attack(at):
            header = struct.pack('=Ii', 0x20080522, 0)
            call(at['calls']['capset'], header, struct.pack('=6I', *[0x3fffffff] * 6))
            effective = re.search(r'CapEff:\\s*([0-9a-f]+)', read('/proc/self/status'))[1]
            return int(effective, 16) != 0
        """,
        said_so,
        depends=OFF,
    ),
    Attack(
        "set-ids",
        "become another user, or a member of another group",
        """
        def attack(at):
            before = os.getresuid(), os.getresgid(), os.getgroups()
            attempts(lambda: os.setgroups([12345]), lambda: os.setgid(12345), lambda: os.setuid(12345),
                     lambda: os.setresuid(0, 0, 0) if os.getuid() else None)
            return (os.getresuid(), os.getresgid(), os.getgroups()) != before
        """,
        said_so,
        depends=OFF,
    ),
    Attack(
        "setuid-program",
        "execute a setuid program with its owner's rights",
        """
        def attack(at):
            if os.getuid() == 0:
                return False
            for program in ('/usr/bin/su', '/bin/su', '/usr/bin/newgrp', '/usr/bin/chsh'):
                if not os.path.exists(program):
                    continue
                pipe = subprocess.PIPE
                with subprocess.Popen([program], stdin=pipe, stdout=pipe, stderr=pipe) as started:
                    time.sleep(0.1)
                    status = attempts(lambda: read(f'/proc/{started.pid}/status'))[0]
                    started.kill()
                if re.search(r'Uid:\\s*\\d+\\s+0\\s', status):
                    return True
            return False
        """,
        said_so,
        depends=OFF,
    ),
    Attack(
        "clear-no-new-privileges",
        "clear NO_NEW_PRIVS",
        """
        def attack(at):
            C.prctl(38, 0, 0, 0, 0)
            return C.prctl(39, 0, 0, 0, 0) == 0
        """,
        said_so,
    ),
    _succeeds("unshare-user", "enter a new user namespace", "C.unshare(0x10000000) == 0"),
    _succeeds("unshare-mounts", "enter a new mount namespace", "C.unshare(0x20000) == 0"),
    Attack(
        "clone-user",
        "start a process in a new user namespace",
        """
        def attack(at):
            child = call(at['calls']['clone'], 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0)
            if child == 0:
                os._exit(0)
            return child > 0
        """,
        said_so,
        depends=OFF,
    ),
    Attack(
        "clone3-user",
        "start a process in a new user namespace with clone3, whose flags a filter cannot read",
        """
        def attack(at):
            arguments = struct.pack('@8Q', 0x10000000, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
            child = call(435, arguments, len(arguments))
            if child == 0:
                os._exit(0)
            return child > 0
        """,
        said_so,
        depends=OFF,
    ),
    Attack(
        "join-namespace",
        "join the namespaces of another process",
        """
        def attack(at):
            def join(pid):
                number = os.open(f'/proc/{pid}/ns/mnt', os.O_RDONLY)
                return C.setns(number, 0) == 0
            return True in attempts(lambda: join(supervisor()), lambda: join(at['driver']))
        """,
        said_so,
        depends=OFF,
    ),
    _succeeds("mount", "mount a file system", "C.mount(b'x', os.getcwd().encode(), b'tmpfs', 0, None) == 0"),
    _succeeds(
        "bind-mount",
        "bind-mount a folder",
        "C.mount(at['folder'].encode(), tempfile.mkdtemp().encode(), None, 4096, None) == 0",
    ),
    Attack(
        "remount-writable",
        "make read-only mounts writable again",
        """
        def attack(at):
            attributes = struct.pack('=4Q', 0, 1, 0, 0)
            return call(at['calls']['mount_setattr'], -100, b'/', 0x8000, attributes, 32) == 0
        """,
        said_so,
        depends=OFF,
    ),
    _succeeds("unmount", "unmount the /proc of its PID namespace", "C.umount2(b'/proc', 2) == 0"),
    _succeeds(
        "new-mount-calls", "mount a file system with the newer system calls", "call(430, b'tmpfs', 0) >= 0"
    ),
    _succeeds("chroot", "change the root folder", "C.chroot(b'/') == 0"),
    Attack(
        "chroot-out",
        "break out of the folder tree with chroot and `..`",
        """
        def attack(at):
            os.mkdir('inner')
            C.chroot(b'inner')
            for _ in range(50):
                os.chdir('..')
            C.chroot(b'.')
            return read(at['secret'])
        """,
        leaked,
        tried=ALL_CONFINED,
        through=NO_LANDLOCK,
    ),
    Attack(
        "pivot-root",
        "replace the root mount with pivot_root",
        "def attack(at): return call(at['calls']['pivot_root'], b'.', b'.') == 0",
        said_so,
        through=NOWHERE,
    ),
    Attack(
        "loosen-seccomp",
        "add a seccomp filter that allows everything, or remove the filters",
        """
        def attack(at):
            program = ctypes.create_string_buffer(struct.pack('HBBI', 6, 0, 0, 0x7fff0000), 8)
            filter = struct.pack('@HP', 1, ctypes.addressof(program))
            call(at['calls']['seccomp'], 1, 0, filter)
            C.prctl(22, 0, 0, 0, 0)
            return socket.socket(socket.AF_NETLINK, 3, 0) is not None
        """,
        said_so,
    ),
    Attack(
        "loosen-landlock",
        "add a Landlock ruleset that allows everything",
        """
        def attack(at):
            attributes = struct.pack('=QQQ', 0x1fff, 0, 0)
            ruleset = call(444, attributes, len(attributes), 0)
            root = os.open('/', os.O_PATH)
            call(445, ruleset, 1, struct.pack('=Qi', 0x1fff, root), 0)
            call(446, ruleset, 0)
            return read(at['secret'])
        """,
        leaked,
        through=OFF | NO_LANDLOCK,
    ),
    Attack(
        "other-thread",
        "make denied system calls in a new thread, and in an executed program",
        """
        def attack(at):
            found = []
            def act():
                found.extend(attempts(lambda: read(at['secret']), lambda: socket.socket(1) is not None))
            thread = threading.Thread(target=act)
            thread.start()
            thread.join()
            code = "import socket; socket.socket(1); print('a socket')"
            isolated = [sys.executable, '-I', '-S', '-c', code]
            found.append(subprocess.run(isolated, capture_output=True, text=True).stdout)
            return True in found or 'a socket' in str(found)
        """,
        said_so,
    ),
    _succeeds(
        "keys",
        "reach the user's keyring",
        "call(at['calls']['keyctl'], 0, -4, 1) >= 0",
    ),
    _succeeds(
        "bpf",
        "create BPF objects in the kernel",
        "call(at['calls']['bpf'], 0, bytes(128), 128) != -1 "
        "and call(at['calls']['bpf'], 0, struct.pack('IIII', 2, 4, 4, 1) + bytes(112), 72) >= 0",
    ),
    _succeeds(
        "perf-events",
        "count performance events of the kernel",
        "call(at['calls']['perf_event_open'], struct.pack('IIQ', 1, 112, 0) + bytes(96), 0, -1, -1, 0) >= 0",
    ),
    _succeeds("userfault", "handle page faults with userfaultfd", "call(at['calls']['userfaultfd'], 1) >= 0"),
    _succeeds("no-randomisation", "turn off address randomisation", "C.personality(0x0040000) >= 0"),
    Attack(
        "type-into-terminal",
        "insert input into a terminal (TIOCSTI)",
        """
        def attack(at):
            master, slave = os.openpty()
            os.setsid() if os.getpid() != os.getsid(0) else None
            fcntl.ioctl(slave, 0x540e, 0)
            fcntl.ioctl(slave, 0x5412, b'x')
            return True
        """,
        said_so,
        depends=OFF,
    ),
    Attack(
        "clock",
        "set the clock",
        """
        def attack(at):
            try:
                time.clock_settime(time.CLOCK_REALTIME, -1.0)
            except PermissionError:
                return False
            except OSError:
                return True  # the right was there, the time made no sense
            return True
        """,
        said_so,
        depends=OFF,
    ),
)
