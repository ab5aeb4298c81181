"""Attacks that send forged results to the driver on the worker's channel."""

from __future__ import annotations

from gigaexec import Limits, OutcomeStatus
from tests.security.attack import (
    ALL_CONFINED,
    NOWHERE,
    OFF,
    Attack,
    Attempt,
    any_of,
    ended_not_as,
    ended_ok,
    marker_was_made,
    survived,
    took_longer_than,
)


def _claims(name: str, what: str, program: str) -> Attack:
    """Return an attack that must end as the program's failure, not as success or infrastructure failure."""
    return Attack(name, what, program, ended_not_as("error", "crashed"), through=NOWHERE, tried=ALL_CONFINED)


def _sends_file(name: str, what: str, make: str, layout: str = "['data', 10, [], 10]") -> Attack:
    return _claims(
        name,
        what,
        f"""
        def attack(at):
            number = {make}
            send(result({layout}), descriptors=[number])
        """,
    )


def _says_infrastructure(attempt: Attempt) -> bool:
    return attempt.outcome.status is OutcomeStatus.INFRASTRUCTURE


def _says_forged_steps(attempt: Attempt) -> bool:
    return any(step.name == "forged" for step in attempt.outcome.confinement)


def _says_forged_metrics(attempt: Attempt) -> bool:
    metrics = attempt.outcome.metrics
    if metrics is None:
        return False
    is_cpu_forged = metrics.user_time_s > 1000
    is_clock_forged = metrics.wall_time_s > attempt.took_s + 0.5
    return is_cpu_forged or is_clock_forged or "forged" in (metrics.worker_id, metrics.node_id)


def _hid_peak(attempt: Attempt) -> bool:
    return attempt.outcome.metrics is None or attempt.outcome.metrics.peak_rss_kb < 50 * 1024


def _value_is_wrong(attempt: Attempt) -> bool:
    intact = b"\1" * 1_000_000
    return attempt.outcome.ok and bytes(attempt.outcome.value) != intact


def _is_second_answer(attempt: Attempt) -> bool:
    return bool(attempt.outcome.value == "second")


FORGING = (
    Attack(
        "return-a-pickle-bomb",
        "return an object whose unpickling runs code",
        """
        def attack(at):
            class Payload:
                def __reduce__(self):
                    return open, (at['marker_file'], 'w')
            return Payload()
        """,
        marker_was_made,
    ),
    Attack(
        "forge-a-pickle",
        "send a pickle as the result",
        """
        def attack(at):
            payload = b"cbuiltins\\nopen\\n(V" + at['marker_file'].encode() + b"\\nVw\\ntR."
            send(result(['pickle', len(payload), [], len(payload)], is_inline=True), payload)
        """,
        marker_was_made,
    ),
    Attack(
        "forge-a-pickle-as-data",
        "send a pickle, and call it data",
        """
        def attack(at):
            payload = b"cbuiltins\\nopen\\n(V" + at['marker_file'].encode() + b"\\nVw\\ntR."
            send(result(['data', len(payload), [], len(payload)], is_inline=True), payload)
        """,
        marker_was_made,
        through=NOWHERE,
    ),
    Attack(
        "forge-a-pickle-file",
        "name a file that holds a pickle as the result",
        """
        def attack(at):
            payload = b"cbuiltins\\nopen\\n(V" + at['marker_file'].encode() + b"\\nVw\\ntR."
            open('result.spill', 'wb').write(payload) if not at['is_off'] else None
            send(result(['pickle', len(payload), [], len(payload)], spill_path=os.getcwd() + '/result.spill'))
        """,
        any_of(marker_was_made, _says_infrastructure),
        through=NOWHERE,
        depends=OFF,
    ),
    *(
        Attack(
            f"forge-{kind}-failure",
            f"report a failure of the machine ({kind}) that did not happen",
            f"""
            def attack(at):
                send(result(error=['forged', 1, {kind!r}, 'forged', None]))
            """,
            _says_infrastructure,
            through=NOWHERE if kind != "spill" else OFF | ALL_CONFINED,
            depends=OFF,
        )
        for kind in ("sandbox", "setup", "spill")
    ),
    Attack(
        "forge-confinement",
        "report other steps of the sandbox than those that hold",
        """
        def attack(at):
            send({'confined': [['forged', True, '']]})
            send({'ready': {'pid': 1, 'problem': '', 'warnings': [], 'steps': [['forged', True, '']]}})
        """,
        _says_forged_steps,
        through=NOWHERE,
        depends=OFF,
    ),
    Attack(
        "forge-metrics",
        "report other costs, and end",
        """
        def attack(at):
            forge_value('forged', cpu_s=1e9)
            os._exit(0)
        """,
        _says_forged_metrics,
        through=NOWHERE,
        depends=OFF,
    ),
    Attack(
        "forge-metrics-and-stay",
        "report other costs, and never end",
        """
        def attack(at):
            forge_value('forged', cpu_s=1e9)
            time.sleep(20)
        """,
        any_of(_says_forged_metrics, took_longer_than(5.0)),
        through=NOWHERE,
        depends=OFF,
    ),
    Attack(
        "hide-peak",
        "report less memory than it used",
        """
        def attack(at):
            kept = bytearray(os.urandom(1 << 20) * 100)
            forge_value('forged')
            os._exit(0)
        """,
        _hid_peak,
        through=NOWHERE,
    ),
    Attack(
        "answer-twice",
        "answer a second time",
        """
        def attack(at):
            forge_value('first')
            forge_value('second')
        """,
        _is_second_answer,
        through=NOWHERE,
    ),
    Attack(
        "answer-in-child",
        "answer a second time from a forked child that returns from the function",
        """
        def attack(at):
            if os.fork() == 0:
                return 'second'
            os.wait()
            return 'first'
        """,
        _is_second_answer,
        through=NOWHERE,
    ),
    Attack(
        "answer-and-stay",
        "answer, leave a daemon and never end",
        """
        def attack(at):
            daemon(lambda: os.execv('/bin/sleep', [at['marker'], '100']))
            forge_value('forged')
            for number in range(1, 32):
                attempts(lambda: signal.signal(number, signal.SIG_IGN))
            time.sleep(20)
        """,
        any_of(survived, took_longer_than(5.0)),
        through=NOWHERE,
    ),
    _sends_file("send-fifo", "send a FIFO as the file of a result", "os.pipe()[0]"),
    _sends_file("send-device", "send a device as the file of a result", "os.open('/dev/zero', os.O_RDONLY)"),
    _sends_file("send-folder", "send a folder as the file of a result", "os.open('.', os.O_RDONLY)"),
    _sends_file("send-socket", "send a socket as the file of a result", "socket.socketpair()[0].detach()"),
    _sends_file("send-process", "send a pidfd as the file of a result", "os.pidfd_open(os.getpid())"),
    _sends_file(
        "send-other-file",
        "send a file of the system as the file of a result",
        "os.open('/etc/passwd', os.O_RDONLY)",
        "['data', 10, [], os.stat('/etc/passwd').st_size]",
    ),
    _sends_file(
        "send-named-file",
        "send a file that has a name as the file of a result",
        "(open('named', 'wb').write(bytes(10)), os.open('named', os.O_RDWR))[1]",
    ),
    _sends_file(
        "send-path-descriptor",
        "send an O_PATH descriptor, which cannot be read",
        "(open('named', 'wb').write(bytes(10)), os.open('named', os.O_PATH), os.unlink('named'))[1]",
    ),
    _sends_file(
        "send-write-only",
        "send a descriptor that is open for writing only",
        "(os.open('named', os.O_WRONLY | os.O_CREAT), os.unlink('named'), os.write(3, bytes(10)) "
        "if os.path.exists('/proc/self/fd/3') else None)[0]",
        "['data', 0, [], os.fstat(number).st_size]",
    ),
    _sends_file(
        "send-empty-file",
        "send an empty file as the file of a result",
        "(os.open('named', os.O_RDWR | os.O_CREAT), os.unlink('named'))[0]",
        "['data', 0, [], 0]",
    ),
    _sends_file(
        "send-short-file",
        "send a file shorter than announced",
        "(os.open('named', os.O_RDWR | os.O_CREAT), os.unlink('named'))[0]",
        "['data', 10, [], 1 << 20]",
    ),
    _sends_file(
        "send-sparse-file",
        "send a sparse file of 1 TiB",
        "(os.open('named', os.O_RDWR | os.O_CREAT), os.unlink('named'))[0]",
        "(os.truncate(number, 1 << 40), ['data', 1 << 40, [], 1 << 40])[1]",
    ),
    _sends_file(
        "send-sparse-bytes",
        "send a sparse file of 8 GiB that holds one value",
        "(os.open('named', os.O_RDWR | os.O_CREAT), os.unlink('named'))[0]",
        "(os.truncate(number, 8 << 30), os.pwrite(number, b'\\x93\\x90\\xc4\\x04\\x00\\x00\\x00\\x00'"
        " + b'\\xc6\\xff\\xff\\xff\\xf0', 0), ['data', 8 << 30, [], 8 << 30])[2]",
    ),
    _sends_file(
        "send-sparse-memory",
        "send a sparse memfd of 4 EiB",
        "os.memfd_create('x')",
        "(os.truncate(number, 2**62), ['data', 2**62, [], 2**62])[1]",
    ),
    _claims(
        "send-more-descriptors-than-taken",
        "send 250,000 descriptors",
        """
        def attack(at):
            numbers = [os.dup(0) for _ in range(250)]
            for _ in range(1000):
                send({'confined': []}, descriptors=numbers)
        """,
    ),
    _claims(
        "send-result-without-file",
        "announce a result in a file, and send no file",
        "def attack(at): send(result(['data', 10, [], 10]))",
    ),
    _claims(
        "send-large-frame",
        "announce a frame of 8 EiB",
        "def attack(at): channel().sendall(struct.pack('!Q', 2**63))",
    ),
    _claims(
        "send-garbage",
        "send random bytes instead of a message",
        "def attack(at): channel().sendall(struct.pack('!Q', 100) + os.urandom(100))",
    ),
    _claims(
        "send-deep-message",
        "send a message nested 1,000,000 deep",
        """
        def attack(at):
            header = b'[' * 1_000_000
            payload = struct.pack('!I', len(header)) + header
            channel().sendall(struct.pack('!Q', len(payload)) + payload)
        """,
    ),
    Attack(
        "send-without-end",
        "send messages for 10 s after an answer",
        """
        def attack(at):
            forge_value('first')
            end = time.monotonic() + 10
            while time.monotonic() < end:
                for _ in range(1000):
                    send({'confined': []})
        """,
        took_longer_than(3.0),
        through=NOWHERE,
    ),
    Attack(
        "result-over-limit",
        "forge a result larger than `result_bytes`",
        """
        def attack(at):
            number = os.open('.', os.O_TMPFILE | os.O_RDWR) if not at['is_off'] else os.memfd_create('x')
            head = b'\\x93\\x90\\xc4\\x00\\xc6' + struct.pack('>I', 2_000_000) + bytes(2_000_000)
            os.write(number, head)
            send(result(['data', len(head), [], len(head)]), descriptors=[number])
        """,
        ended_not_as("result_exceeded"),
        through=NOWHERE,
        limits=Limits(result_bytes=1_000_000),
        tried=ALL_CONFINED,
    ),
    _claims(
        "send-many-descriptors",
        "send more descriptors with one message than the driver accepts, as if it had none left",
        """
        def attack(at):
            send({'confined': []}, descriptors=[os.dup(0) for _ in range(253)])
            time.sleep(10)
        """,
    ),
    Attack(
        "forge-measured-limit",
        "report a limit that was hit, with a forged measurement",
        """
        def attack(at):
            hit = ['memory_bytes', 1_000_000_000, 1e15]
            send(result(error=['hit', 1, 'limit', 'hit', hit]))
            time.sleep(10)
        """,
        ended_not_as("crashed"),
        through=NOWHERE,
        limits=Limits(memory_bytes=1_000_000_000),
    ),
    Attack(
        "lease-result",
        "hold a lease on the result's file, which blocks a driver that opens it",
        """
        def attack(at):
            number = os.open('.', os.O_TMPFILE | os.O_RDWR)
            os.write(number, bytes(100))
            attempts(lambda: fcntl.fcntl(number, fcntl.F_SETLEASE, fcntl.F_WRLCK))
            send(result(['data', 100, [], 100], file_number=number))
            time.sleep(10)
        """,
        took_longer_than(3.0),
        through=NOWHERE,
    ),
    Attack(
        "name-a-pipe-as-result",
        "name a pipe as the result's file, which blocks a driver that opens it",
        """
        def attack(at):
            reader, writer = os.pipe()
            os.close(writer)
            send(result(['data', 100, [], 100], file_number=reader))
            time.sleep(10)
        """,
        took_longer_than(3.0),
        through=NOWHERE,
        tried=ALL_CONFINED,
    ),
    Attack(
        "cut-result-file",
        "change and truncate the result's file in a daemon while the driver reads it",
        """
        def attack(at):
            import numpy
            from gigaexec.wire.data.encoder import encode_data
            encoded = encode_data(numpy.ones(1_000_000, 'u1'))
            number = os.open(tempfile.gettempdir(), os.O_TMPFILE | os.O_RDWR)
            head = bytes(encoded.head)
            os.write(number, head + bytes(-len(head) % 64))
            start = os.lseek(number, 0, os.SEEK_CUR)
            os.write(number, bytes(encoded.buffers[0]))
            total = start + 1_000_000
            shared = mmap.mmap(number, total)
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    end = time.monotonic() + 5
                    time.sleep(0.01)
                    while time.monotonic() < end:
                        shared[start:start + 10] = bytes(10)
                        os.ftruncate(number, 0)
                os._exit(0)
            send(result(['data', len(head), [[start, 1_000_000]], total]), descriptors=[number])
            os._exit(0)
        """,
        _value_is_wrong,
        through=NOWHERE,
        tried=ALL_CONFINED,
    ),
    Attack(
        "close-everything",
        "close all descriptors and continue",
        """
        def attack(at):
            os.closerange(0, 1024)
            time.sleep(10)
        """,
        ended_not_as("crashed"),
        through=NOWHERE,
    ),
    Attack(
        "exit-with-success",
        "end with exit code 0 and no answer",
        "def attack(at): os._exit(0)",
        ended_ok,
        through=NOWHERE,
    ),
    Attack(
        "raise-system-exit",
        "raise SystemExit(0)",
        "def attack(at): raise SystemExit(0)",
        ended_ok,
        through=NOWHERE,
    ),
    Attack(
        "terminal-escapes",
        "put terminal escape sequences and forged lines into the driver's log",
        """
        def attack(at):
            raise ValueError('\\x1b]0;owned\\x07\\x1b[2J\\nWARNING forged line')
        """,
        any_of(
            lambda attempt: attempt.targets.log_has("\x1b"),
            lambda attempt: attempt.targets.log_has("\nWARNING forged line"),
        ),
        through=NOWHERE,
    ),
)
