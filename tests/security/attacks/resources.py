"""Attacks that exhaust resources. The caller has set a limit for each of these resources."""

from __future__ import annotations

from gigaexec import Limits
from tests.security.attack import (
    ALL_CONFINED,
    NOWHERE,
    OFF,
    Attack,
    Attempt,
    any_of,
    ended_not_as,
    ended_ok,
    said_so,
    used_driver_cpu,
)
from tests.security.attacks.memory import MEBIBYTE, MEMORY, MEMORY_LIMIT


def _output_was_kept_whole(attempt: Attempt) -> bool:
    return len(attempt.outcome.output.stdout) > 200_000


def _hid_cpu_time(attempt: Attempt) -> bool:
    metrics = attempt.outcome.metrics
    return metrics is None or metrics.user_time_s + metrics.sys_time_s < 0.2


RESOURCES = (
    Attack(
        "fork-bomb",
        "fork endlessly, with a limit on `processes`",
        """
        def attack(at):
            def bomb():
                end = time.monotonic() + 30
                while time.monotonic() < end:
                    attempts(os.fork)
                    time.sleep(0.01)
                os.execv('/bin/sleep', [at['marker'], '100'])
            daemon(bomb)
            time.sleep(20)
        """,
        ended_not_as("processes_exceeded"),
        through=NOWHERE,
        limits=Limits(processes=20),
    ),
    Attack(
        "thread-bomb",
        "start threads endlessly, with a limit on `memory_bytes`",
        """
        def attack(at):
            while True:
                threading.Thread(target=time.sleep, args=[20], daemon=True).start()
        """,
        ended_ok,
        through=NOWHERE,
        limits=MEMORY_LIMIT,
        deadline_s=5.0,
    ),
    *MEMORY,
    Attack(
        "cpu-time",
        "use CPU time in children that ignore signals",
        """
        def attack(at):
            for _ in range(2):
                if os.fork() == 0:
                    for number in range(1, 32):
                        attempts(lambda: signal.signal(number, signal.SIG_IGN))
                    while True:
                        pass
            time.sleep(20)
        """,
        ended_not_as("cpu_time_exceeded"),
        through=NOWHERE,
        limits=Limits(cpu_time_s=0.5),
    ),
    Attack(
        "cpu-time-of-short-lives",
        "use CPU time in children that live for milliseconds and are not waited for",
        """
        def attack(at):
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            end = time.monotonic() + 0.6
            while time.monotonic() < end:
                if os.fork() == 0:
                    stop = time.monotonic() + 0.01
                    while time.monotonic() < stop:
                        pass
                    os._exit(0)
                time.sleep(0.01)
        """,
        _hid_cpu_time,
        through=OFF | ALL_CONFINED,
    ),
    Attack(
        "fill-disk",
        "write more than `scratch_bytes` to the scratch folder",
        """
        def attack(at):
            open('big', 'wb').write(bytes(20 << 20))
            time.sleep(3)
        """,
        ended_not_as("scratch_exceeded"),
        through=NOWHERE,
        limits=Limits(scratch_bytes=5 * MEBIBYTE),
        tried=ALL_CONFINED,
    ),
    Attack(
        "fill-disk-behind-files",
        "hide a large scratch file behind 6,000 small ones",
        """
        def attack(at):
            os.mkdir('many')
            for number in range(6000):
                os.close(os.open(f'many/{number}', os.O_CREAT | os.O_WRONLY))
            os.mkdir('many/inner')
            open('many/inner/big', 'wb').write(bytes(20 << 20))
            time.sleep(3)
        """,
        ended_not_as("scratch_exceeded"),
        through=NOWHERE,
        limits=Limits(scratch_bytes=5 * MEBIBYTE),
        tried=ALL_CONFINED,
    ),
    Attack(
        "fill-disk-deep",
        "hide a large scratch file in folders nested deeper than the longest path",
        """
        def attack(at):
            for _ in range(30):
                os.mkdir('deep' * 50)
                os.chdir('deep' * 50)
            open('big', 'wb').write(bytes(20 << 20))
            time.sleep(3)
        """,
        ended_not_as("scratch_exceeded"),
        through=NOWHERE,
        limits=Limits(scratch_bytes=5 * MEBIBYTE),
        tried=ALL_CONFINED,
    ),
    Attack(
        "fill-disk-without-names",
        "hide scratch data in an unlinked file",
        """
        def attack(at):
            kept = open('big', 'wb')
            os.unlink('big')
            kept.write(bytes(20 << 20))
            kept.flush()
            time.sleep(2)
        """,
        ended_not_as("scratch_exceeded"),
        through=NOWHERE,
        limits=Limits(scratch_bytes=5 * MEBIBYTE),
        tried=ALL_CONFINED,
    ),
    Attack(
        "deep-folders",
        "leave folders nested deeper than the longest path, with mode 0",
        """
        def attack(at):
            if at['is_off']:
                return
            for _ in range(300):
                os.mkdir('deep' * 20)
                os.chdir('deep' * 20)
            os.chmod('.', 0)
        """,
        lambda attempt: not attempt.outcome.ok or attempt.targets.has_old_scratch(),
        through=NOWHERE,
    ),
    Attack(
        "descriptors-under-way",
        "keep as many descriptors in flight as the driver may, so that the driver can send none",
        """
        def attack(at):
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            attempts(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard)))
            numbers, sent, pairs = [os.dup(0) for _ in range(100)], 0, []
            while sent < at['descriptors']:
                pairs.append(socket.socketpair())
                pairs[-1][0].setblocking(False)
                try:
                    while sent < at['descriptors']:
                        socket.send_fds(pairs[-1][0], [b'x'], numbers)
                        sent += len(numbers)
                except BlockingIOError:
                    continue
                except OSError:
                    return False
            return True
        """,
        said_so,
        through=NOWHERE,
        tried=ALL_CONFINED,
        is_alone=True,
    ),
    Attack(
        "output-flood",
        "write more than `output_bytes` of output",
        """
        def attack(at):
            end = time.monotonic() + 20
            while time.monotonic() < end:
                os.write(1, bytes(65536))
        """,
        ended_not_as("output_exceeded"),
        through=NOWHERE,
        limits=Limits(output_bytes=1_000_000),
    ),
    Attack(
        "output-kept",
        "make the driver keep all output",
        "def attack(at): os.write(1, b'x' * 300_000) and print('x' * 3_000_000)",
        _output_was_kept_whole,
        through=NOWHERE,
    ),
    Attack(
        "never-end",
        "ignore all signals and never end",
        """
        def attack(at):
            for number in range(1, 32):
                attempts(lambda: signal.signal(number, signal.SIG_IGN))
            while True:
                pass
        """,
        ended_not_as("timed_out"),
        through=NOWHERE,
        deadline_s=0.4,
    ),
    Attack(
        "stop-itself",
        "stop itself, which blocks all signals except SIGKILL",
        "def attack(at): os.kill(os.getpid(), signal.SIGSTOP)",
        ended_not_as("timed_out"),
        through=NOWHERE,
        deadline_s=0.4,
    ),
    Attack(
        "large-result",
        "return more than `result_bytes`",
        "def attack(at): return bytes(20 << 20)",
        ended_not_as("result_exceeded"),
        through=NOWHERE,
        limits=Limits(result_bytes=1_000_000),
    ),
    Attack(
        "deep-result",
        "return lists nested 100,000 deep",
        """
        def attack(at):
            value = []
            for _ in range(100_000):
                value = [value]
            return value
        """,
        ended_not_as("error"),
        through=NOWHERE,
    ),
    Attack(
        "colliding-result",
        "forge a set of numbers with equal hashes",
        """
        def attack(at):
            import array, msgspec
            from gigaexec.wire.data import format as data_format
            from gigaexec.wire.data.encoder import encode_data
            head = encode_data([number * (2**61 - 1) for number in range(100, 60_000)]).head
            leaves, ops, raw = msgspec.msgpack.decode(head)
            ops = array.array('I', ops)
            close_list = data_format.CLOSE | data_format.LIST << data_format.CODE_BITS
            assert ops[-1] == close_list
            ops[-1] = data_format.CLOSE | data_format.SET << data_format.CODE_BITS
            head = msgspec.msgpack.encode([leaves, ops.tobytes(), raw])
            number = os.open('.', os.O_TMPFILE | os.O_RDWR)
            os.write(number, head)
            send(result(['data', len(head), [], len(head)]), descriptors=[number])
        """,
        any_of(used_driver_cpu(5.0), ended_not_as("error")),
        through=NOWHERE,
        tried=ALL_CONFINED,
        is_alone=True,
    ),
    Attack(
        "endless-dimensions",
        "forge an array whose dimensions are integers of millions of digits",
        """
        def attack(at):
            import array, msgspec
            from gigaexec.wire.data import format as fmt
            def op(code, number=0):
                return code | number << fmt.CODE_BITS
            size = 5_000_000
            ops = [fmt.OPEN, op(fmt.LEAVES, 1), op(fmt.BYTES, 1), op(fmt.LEAVES, 1)]
            for _ in range(2):
                ops += [fmt.OPEN, op(fmt.BYTES, size), op(fmt.CLOSE, fmt.BIG_INT)]
            ops += [op(fmt.LEAVES, 1), op(fmt.CLOSE, fmt.ARRAY)]
            raw = bytes(1) + b'\\x11' * (2 * size)
            head = msgspec.msgpack.encode([['C', 2, '|u1'], array.array('I', ops).tobytes(), raw])
            number = os.open('.', os.O_TMPFILE | os.O_RDWR)
            os.write(number, head)
            send(result(['data', len(head), [], len(head)]), descriptors=[number])
        """,
        any_of(used_driver_cpu(5.0), ended_not_as("error")),
        through=NOWHERE,
        tried=ALL_CONFINED,
        is_alone=True,
    ),
)
