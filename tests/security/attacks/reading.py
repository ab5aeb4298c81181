"""Attacks that read files, environments and memory of other processes."""

from __future__ import annotations

from tests.security.attack import (
    ALL_CONFINED,
    NEITHER,
    NO_LANDLOCK,
    NO_NAMESPACES,
    NOWHERE,
    OFF,
    Attack,
    Attempt,
    leaked,
    said_so,
)


def _reads(name: str, what: str, program: str) -> Attack:
    return Attack(name, what, program, leaked, through=OFF | NO_LANDLOCK)


def _saw_driver(attempt: Attempt) -> bool:
    return str(attempt.targets.at["driver"]) in str(attempt.outcome.value)


READING = (
    _reads(
        "read-file", "read a private file outside of its folders", "def attack(at): return read(at['secret'])"
    ),
    _reads(
        "read-ssh-key",
        "read a key in another folder's .ssh",
        "def attack(at): return read(at['folder'] + '/.ssh/id_ed25519')",
    ),
    _reads(
        "read-by-symlink",
        "read a private file through a symlink in the scratch folder",
        """
        def attack(at):
            folder = tempfile.mkdtemp()
            os.symlink(at['secret'], folder + '/link')
            return read(folder + '/link')
        """,
    ),
    Attack(
        "read-by-hard-link",
        "read a private file through a hard link",
        """
        def attack(at):
            link = at['folder'] + '/link' if at['is_off'] else 'link'
            os.link(at['secret'], link)
            return read(link)
        """,
        leaked,
        depends=NO_LANDLOCK,
    ),
    _reads(
        "read-proc-self-root",
        "read a private file through /proc/self/root",
        "def attack(at): return read('/proc/self/root' + at['secret'])",
    ),
    Attack(
        "read-proc-1-root",
        "read a private file through /proc/1/root",
        "def attack(at): return read('/proc/1/root' + at['secret'])",
        leaked,
        depends=OFF | NO_LANDLOCK,
    ),
    _reads(
        "read-by-dot-dot",
        "read a private file by a path of `..` from the scratch folder",
        """
        def attack(at):
            os.chdir(tempfile.gettempdir())
            return read('../' * 40 + at['secret'].lstrip('/'))
        """,
    ),
    _reads(
        "read-by-folder-descriptor",
        "read a private file relative to an O_PATH descriptor of /",
        """
        def attack(at):
            root = os.open('/', os.O_PATH)
            os.fchdir(root)
            return attempts(
                lambda: read(at['secret'].lstrip('/'), dir_fd=root), lambda: read(at['secret'].lstrip('/'))
            )
        """,
    ),
    Attack(
        "read-inherited-descriptors",
        "read descriptors that the driver left inheritable, and files relative to them",
        """
        def attack(at):
            found = []
            for number in range(3, 300):
                found += attempts(
                    lambda: os.pread(number, 4096, 0),
                    lambda: read(f'/proc/self/fd/{number}'),
                    lambda: read('../' * 30 + at['secret'].lstrip('/'), dir_fd=number),
                )
            return [each for each in found if 'Error' not in str(each)]
        """,
        leaked,
        through=NOWHERE,
        depends=NO_LANDLOCK,
    ),
    Attack(
        "read-by-handle",
        "read a private file by its file handle, which bypasses folders",
        """
        def attack(at):
            handle = struct.pack('Ii', 128, 0) + bytes(128)
            buffer = ctypes.create_string_buffer(handle, len(handle))
            mount = ctypes.c_int()
            at_fdcwd = -100
            call(at['calls']['name_to_handle_at'], at_fdcwd, at['secret'].encode(), buffer,
                 ctypes.byref(mount), 0)
            folder = os.open('.', os.O_RDONLY)
            number = call(at['calls']['open_by_handle_at'], folder, buffer, os.O_RDONLY)
            return os.read(number, 4096).decode() if number >= 0 else number
        """,
        leaked,
        depends=OFF,
    ),
    _reads(
        "read-by-other-program",
        "read a private file with an executed program",
        "def attack(at): return subprocess.run(['cat', at['secret']], capture_output=True).stdout.decode()",
    ),
    _reads(
        "move-into-scratch",
        "move a private file to the scratch folder and read it there",
        """
        def attack(at):
            place = at['folder'] + '/empty/x' if at['is_off'] else 'x'
            results = attempts(lambda: os.rename(at['secret'], place), lambda: read(place))
            return [*results, *attempts(lambda: read(at['secret']))]
        """,
    ),
    Attack(
        "list-folder",
        "list a private folder",
        "def attack(at): return 'secret.txt' in os.listdir(at['folder'])",
        said_so,
        through=OFF | NO_LANDLOCK,
    ),
    Attack(
        "stat-file",
        "find out with stat that a file exists, its size and times",
        "def attack(at): return os.stat(at['secret']).st_size > 0",
        said_so,
        through=OFF | ALL_CONFINED,
    ),
    Attack(
        "watch-folder",
        "watch with inotify which files other processes create",
        """
        def attack(at):
            queue = C.inotify_init1(os.O_NONBLOCK)
            C.inotify_add_watch(queue, at['busy'].encode(), 0xfff)
            seen = b''
            end = time.monotonic() + 0.3
            while queue >= 0 and time.monotonic() < end:
                try:
                    seen += os.read(queue, 4096)
                except BlockingIOError:
                    time.sleep(0.02)
            return seen.decode('latin-1')
        """,
        leaked,
    ),
    Attack(
        "own-environment",
        "find a secret of the driver's environment in the environment of itself, its supervisor or a child",
        """
        def attack(at):
            C.getenv.restype = ctypes.c_char_p
            run = lambda: subprocess.run(['env'], capture_output=True).stdout.decode()
            return attempts(
                lambda: dict(os.environ), lambda: C.getenv(b'DRIVER_SECRET'), run,
                lambda: read('/proc/self/environ'), lambda: read('/proc/1/environ'),
                lambda: read(f'/proc/{supervisor()}/environ'),
            )
        """,
        leaked,
        through=NOWHERE,
        depends=NEITHER,
    ),
    Attack(
        "driver-environment",
        "read the environment of the driver and of every visible process",
        """
        def attack(at):
            found = attempts(lambda: read(f"/proc/{at['driver']}/environ"))
            for pid in other_pids():
                found += attempts(lambda: read(f'/proc/{pid}/environ'))
            return found
        """,
        leaked,
        through=NOWHERE,
        depends=NEITHER,
    ),
    Attack(
        "driver-memory",
        "open the memory of the driver or the supervisor",
        """
        def attack(at):
            opened = []
            for pid in {at['driver'], supervisor()}:
                opened += attempts(lambda: os.open(f'/proc/{pid}/mem', os.O_RDONLY) >= 0)
                opened += attempts(lambda: os.read(os.open(f'/proc/{pid}/maps', os.O_RDONLY), 10) != b'')
            return True in opened
        """,
        said_so,
        depends=OFF | NEITHER,
    ),
    Attack(
        "supervisor-memory-by-call",
        "read the supervisor's memory with process_vm_readv",
        """
        def attack(at):
            text = ctypes.create_string_buffer(64)
            here = struct.pack('@PN', ctypes.addressof(text), 8)
            there = struct.pack('@PN', id(None), 8)
            return call(at['calls']['process_vm_readv'], supervisor(), here, 1, there, 1, 0) > 0
        """,
        said_so,
        depends=OFF,
    ),
    Attack(
        "list-processes",
        "list the processes of the machine",
        """
        def attack(at):
            return attempts(other_pids, lambda: os.listdir('/proc/1/task'))
        """,
        _saw_driver,
        through=NEITHER,
    ),
    Attack(
        "probe-process-ids",
        "find out which process ids are in use",
        """
        def attack(at):
            def exists():
                try:
                    os.kill(at['driver'], 0)
                except PermissionError:
                    pass
                return at['driver']
            return attempts(exists)
        """,
        _saw_driver,
        through=NO_NAMESPACES,
    ),
    Attack(
        "read-spill-directory",
        "read other calls' results and scratch folders",
        """
        def attack(at):
            found = attempts(lambda: os.listdir(at['spill']), lambda: read(at['planted']))
            for folder, _, files in os.walk(at['spill']):
                for file in files:
                    found += attempts(lambda: read(folder + '/' + file))
            return found
        """,
        leaked,
        through=OFF | NO_LANDLOCK,
    ),
    Attack(
        "read-sys-path",
        "read a secret in a folder of the driver's sys.path",
        "def attack(at): return read(at['on_sys_path'] + '/settings.py')",
        leaked,
        through=OFF | ALL_CONFINED,
    ),
    Attack(
        "lock-file",
        "lock a file that it can only read, which blocks a driver that locks it before writing",
        """
        def attack(at):
            number = os.open(at['on_sys_path'] + '/settings.py', os.O_RDONLY)
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.fcntl(number, fcntl.F_SETLK, struct.pack('hhqqi4x', fcntl.F_RDLCK, 0, 0, 0, 0))
            return True
        """,
        said_so,
        through=OFF | ALL_CONFINED,
    ),
    Attack(
        "kernel-memory",
        "read the kernel's memory or log, or physical memory",
        """
        def attack(at):
            places = ('/proc/kcore', '/dev/mem', '/dev/kmem', '/dev/kmsg', '/proc/kmsg')
            return any(each is True for each in attempts(*(
                lambda path=path: os.read(os.open(path, os.O_RDONLY | os.O_NONBLOCK), 1) != b''
                for path in places
            )))
        """,
        said_so,
        depends=OFF | NO_LANDLOCK,
    ),
)
