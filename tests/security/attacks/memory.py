"""Attacks that use more memory than `memory_bytes` allows."""

from __future__ import annotations

from gigaexec import Limits
from tests.security.attack import ALL_CONFINED, NEITHER, NOWHERE, OFF, Attack, Where, ended_ok, survived

MEBIBYTE = 2**20
MEMORY_LIMIT = Limits(memory_bytes=100 * MEBIBYTE)


def _hides_memory(name: str, what: str, program: str, through: frozenset[Where] = NOWHERE) -> Attack:
    """Return an attack that holds 250 MiB, above its limit of 100 MiB, until the engine kills it."""
    return Attack(name, what, program, ended_ok, through=through, limits=MEMORY_LIMIT, deadline_s=60.0)


MEMORY = (
    _hides_memory(
        "memory",
        "allocate more than `memory_bytes`",
        """
        def attack(at):
            kept = bytearray(os.urandom(1 << 20) * 250)
            time.sleep(6)
        """,
    ),
    _hides_memory(
        "memory-in-file",
        "hide memory in memfds that are not mapped",
        """
        def attack(at):
            for _ in range(25):
                os.write(os.memfd_create('x'), bytes(10 << 20))
            time.sleep(6)
        """,
    ),
    _hides_memory(
        "memory-behind-descriptors",
        "hide memory in memfds behind 1,000 other descriptors",
        """
        def attack(at):
            for _ in range(1000):
                os.dup(0)
            for _ in range(25):
                os.write(os.memfd_create('x'), bytes(10 << 20))
            time.sleep(6)
        """,
        through=NOWHERE,
    ),
    _hides_memory(
        "memory-in-flight",
        "hide memory in memfds that are neither mapped nor open, but queued in a socket",
        """
        def attack(at):
            pairs = []
            for _ in range(25):
                number = os.memfd_create('x')
                os.write(number, bytes(10 << 20))
                one, other = socket.socketpair()
                socket.send_fds(one, [b'x'], [number])
                os.close(number)
                pairs.append((one, other))
            time.sleep(6)
        """,
        through=OFF,
    ),
    _hides_memory(
        "memory-shared",
        "allocate shared memory",
        """
        def attack(at):
            shared = mmap.mmap(-1, 250 << 20)
            for offset in range(0, 250 << 20, 4096):
                shared[offset] = 1
            time.sleep(6)
        """,
    ),
    _hides_memory(
        "memory-in-device",
        "hide memory in a shared mapping of /dev/zero, in pages that are no longer mapped",
        """
        def attack(at):
            shared = mmap.mmap(os.open('/dev/zero', os.O_RDWR), 250 << 20)
            for offset in range(0, 250 << 20, 10 << 20):
                shared[offset:offset + (10 << 20)] = b'x' * (10 << 20)
                shared.madvise(mmap.MADV_DONTNEED)
            time.sleep(6)
        """,
        through=OFF | NEITHER,
    ),
    _hides_memory(
        "memory-in-children",
        "spread memory over child processes",
        """
        def attack(at):
            reader, writer = os.pipe()
            for _ in range(10):
                if os.fork() == 0:
                    kept = bytearray(os.urandom(1 << 20) * 25)
                    os.write(writer, b'x')
                    time.sleep(60)
                    os._exit(0)
            for _ in range(10):
                os.read(reader, 1)
            time.sleep(6)
        """,
    ),
    _hides_memory(
        "memory-behind-threads",
        "spread memory over child processes that one of 700 threads starts",
        """
        def attack(at):
            threading.stack_size(64 << 10)
            end = threading.Event()
            for _ in range(700):
                threading.Thread(target=end.wait, daemon=True).start()
            def start():
                reader, writer = os.pipe()
                for _ in range(10):
                    if os.fork() == 0:
                        kept = bytearray(os.urandom(1 << 20) * 25)
                        os.write(writer, b'x')
                        time.sleep(60)
                        os._exit(0)
                for _ in range(10):
                    os.read(reader, 1)
                time.sleep(6)
            thread = threading.Thread(target=start, daemon=True)
            thread.start()
            thread.join()
        """,
    ),
    _hides_memory(
        "memory-in-page-tables",
        "use memory for page tables, with a child process",
        """
        def attack(at):
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
            size, step, no_reserve = 80 << 30, 2 << 20, 0x4000
            kept = mmap.mmap(-1, size, mmap.MAP_PRIVATE | no_reserve, mmap.PROT_READ)
            for offset in range(0, size, step):
                kept[offset]
            time.sleep(6)
        """,
    ),
    Attack(
        "memory-after-answer",
        "answer, then allocate memory",
        """
        def attack(at):
            forge_value('answered')
            for _ in range(8):
                if os.fork() == 0:
                    kept = b'x' * (50 << 20)
                    time.sleep(10)
            time.sleep(10)
        """,
        survived,  # under load, the call may end before a memory sample
        through=NOWHERE,
        limits=MEMORY_LIMIT,
        tried=ALL_CONFINED,
    ),
)
