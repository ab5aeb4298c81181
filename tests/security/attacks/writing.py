"""Attacks that change files outside the scratch folder."""

from __future__ import annotations

from tests.security.attack import NO_NAMESPACES, NOWHERE, OFF, Attack, Where, changed, said_so

# Without a mount namespace nothing is mounted read-only, and without Landlock nothing else blocks writes.
_NEITHER = frozenset({Where.NEITHER})


def _changes(name: str, what: str, body: str) -> Attack:
    """Return an attack that changes files. Read-only mounts and Landlock each stop it alone."""
    return Attack(name, what, f"def attack(at): {body}", changed, through=OFF | _NEITHER)


def _changes_attributes(name: str, what: str, body: str) -> Attack:
    """Return an attack that changes metadata, which Landlock does not control."""
    return Attack(name, what, f"def attack(at): {body}", changed, through=OFF | NO_NAMESPACES)


WRITING = (
    _changes("append", "append to a file outside of the scratch folder", "open(at['file'], 'a').write('x')"),
    _changes(
        "overwrite", "overwrite a file outside of the scratch folder", "open(at['file'], 'r+').write('x')"
    ),
    _changes("truncate", "truncate a file by its path", "os.truncate(at['file'], 0)"),
    _changes(
        "open-truncate",
        "truncate a file by opening it with O_TRUNC",
        "os.open(at['file'], os.O_WRONLY | os.O_TRUNC)",
    ),
    _changes("rename", "rename a file", "os.rename(at['file'], at['file'] + '2')"),
    _changes("unlink", "remove a file", "os.unlink(at['file'])"),
    _changes("rmdir", "remove a folder", "os.rmdir(at['folder'] + '/empty')"),
    _changes("mkdir", "create a folder", "os.mkdir(at['folder'] + '/new')"),
    _changes("create", "create a file", "open(at['folder'] + '/new', 'w')"),
    _changes("mkfifo", "create a FIFO", "os.mkfifo(at['folder'] + '/new')"),
    Attack(
        "unix-socket",
        "create a Unix socket in a folder",
        "def attack(at): socket.socket(1).bind(at['folder'] + '/new')",
        changed,
    ),
    _changes("symlink", "create a symlink", "os.symlink('x', at['folder'] + '/new')"),
    _changes("hard-link", "create a hard link", "os.link(at['file'], at['folder'] + '/new')"),
    _changes_attributes("chmod", "change a file's mode", "os.chmod(at['file'], 0o777)"),
    Attack(
        "chown",
        "change a file's owner",
        "def attack(at): os.chown(at['file'], 12345, 12345)",
        changed,
        depends=OFF,
        through=NOWHERE,
    ),
    _changes_attributes("utime", "change a file's times", "os.utime(at['file'], (1, 1))"),
    Attack(
        "setxattr",
        "set an extended attribute",
        "def attack(at): os.setxattr(at['file'], 'user.x', b'x')",
        changed,
        depends=OFF | NO_NAMESPACES,
    ),
    _changes(
        "write-by-other-program",
        "append to a file with an executed shell",
        "subprocess.run(['sh', '-c', 'echo x >> ' + at['file']])",
    ),
    _changes(
        "write-proc-self-root",
        "write to a file through /proc/self/root",
        "open('/proc/self/root' + at['file'], 'a').write('x')",
    ),
    _changes(
        "write-by-symlink",
        "write to a file through a symlink in the scratch folder",
        "(os.symlink(at['file'], tempfile.gettempdir() + '/' + at['marker']), "
        "open(tempfile.gettempdir() + '/' + at['marker'], 'a').write('x'))",
    ),
    Attack(
        "reopen-for-writing",
        "open a file for reading, then its /proc/self/fd entry for writing",
        """
        def attack(at):
            number = os.open(at['on_sys_path'] + '/settings.py', os.O_RDONLY)
            path = at['on_sys_path'] + '/' + at['marker']
            attempts(lambda: open(path, 'w'))
            return attempts(lambda: os.open(f'/proc/self/fd/{number}', os.O_RDWR) >= 0)[0] is True
        """,
        said_so,
        through=OFF | _NEITHER,
    ),
    _changes(
        "write-sys-path",
        "plant a module on sys.path",
        "open(at['on_sys_path'] + '/' + at['marker'] + '.py', 'w')",
    ),
    _changes(
        "write-python-path",
        "plant a module in the call's python_path",
        "open(at['python_path'] + '/' + at['marker'] + '.py', 'w')",
    ),
    _changes(
        "write-spill-directory",
        "plant a file in the spill directory",
        "open(at['spill'] + '/' + at['marker'], 'w')",
    ),
    _changes(
        "write-other-scratch", "write to another call's scratch folder", "open(at['planted'], 'a').write('x')"
    ),
    Attack(
        "kernel-settings",
        "open kernel settings and sysrq-trigger for writing",
        """
        def attack(at):
            places = ('/proc/sys/kernel/core_pattern', '/proc/sysrq-trigger', '/sys/kernel/mm/ksm/run')
            opened = attempts(*(lambda path=path: os.open(path, os.O_WRONLY) >= 0 for path in places))
            return True in opened
        """,
        said_so,
        depends=OFF | _NEITHER,
    ),
    Attack(
        "make-device",
        "create the device node of a disk",
        """
        def attack(at):
            os.mknod(tempfile.gettempdir() + '/' + at['marker'], 0o60600, os.makedev(7, 0))
            return True
        """,
        said_so,
        depends=OFF,
        through=NOWHERE,
    ),
    Attack(
        "shared-argument",
        "change a shared argument for later calls",
        """
        def attack(at):
            view = memoryview(at['shared'])
            address = at['shared'].ctypes.data
            page = address & ~4095
            C.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(8192), 3)
            spans = [line.split()[0] for line in open('/proc/self/maps') if 'memfd' in line]
            def by_file(path):
                # Nothing but memfds: where this gets through, it must not harm this machine.
                if os.readlink(path).startswith('/memfd:'):
                    os.pwrite(os.open(path, os.O_RDWR), b'changed!' * 100, 0)
            attempts(*(lambda span=span: by_file(f'/proc/self/map_files/{span}') for span in spans))
            attempts(*(lambda n=n: by_file(f'/proc/self/fd/{n}') for n in range(3, 100)))
            def by_memory():
                with open('/proc/self/mem', 'r+b', buffering=0) as memory:
                    memory.seek(address)
                    memory.write(b'changed!')
            attempts(by_memory)
            ctypes.memmove(address, b'changed!', 8)
            return bytes(view[:8]) == b'changed!'
        """,
        said_so,
        through=NOWHERE,
        then="def attack(at): return bytes(memoryview(at['shared'])[:8]) == b'changed!'",
    ),
)
