"""Attacks that leave state for the next call."""

from __future__ import annotations

from tests.security.attack import NO_LANDLOCK, NOWHERE, OFF, Attack, Where, said_so

_NEITHER = frozenset({Where.NEITHER})

CARRIED_STATE = (
    Attack(
        "leave-in-scratch",
        "leave a file in the scratch folder",
        """
        def attack(at):
            open(at['marker'], 'w').write('here') if not at['is_off'] else None
            return os.getcwd() + '/' + at['marker']
        """,
        said_so,
        then="""
        def attack(at):
            return 'here' in attempts(lambda: read(at['earlier']), lambda: read(at['marker']))
        """,
        through=NOWHERE,
        depends=NO_LANDLOCK,  # the scratch folder is removed shortly after its call
    ),
    Attack(
        "leave-in-tmp",
        "leave a file in /tmp",
        "def attack(at): open('/tmp/' + at['marker'], 'w').write('here')",
        said_so,
        then="def attack(at): return read('/tmp/' + at['marker']) == 'here'",
        through=OFF | _NEITHER,
    ),
    Attack(
        "leave-in-shared-memory",
        "leave a file in /dev/shm",
        "def attack(at): open('/dev/shm/' + at['marker'], 'w').write('here')",
        said_so,
        then="def attack(at): return read('/dev/shm/' + at['marker']) == 'here'",
        through=OFF | _NEITHER,
    ),
    Attack(
        "leave-in-system-v",
        "leave a System V shared memory segment",
        """
        def attack(at):
            return C.shmget(int(at['marker'][-7:], 16) | 1, 4096, 0o1600)
        """,
        said_so,
        then="""
        def attack(at):
            number = C.shmget(int(at['marker'][-7:], 16) | 1, 4096, 0o600)
            if number >= 0:
                C.shmctl(number, 0, None)
            return number >= 0
        """,
    ),
    Attack(
        "leave-a-queue",
        "leave a POSIX message queue",
        """
        def attack(at):
            return call(at['calls']['mq_open'], at['marker'].encode(), os.O_CREAT | os.O_RDWR, 0o600, None)
        """,
        said_so,
        then="""
        def attack(at):
            number = call(at['calls']['mq_open'], at['marker'].encode(), os.O_RDWR, 0, None)
            call(at['calls']['mq_unlink'], at['marker'].encode())
            return number >= 0
        """,
    ),
    Attack(
        "leave-patched-modules",
        "leave patched modules and builtins, an environment variable and a signal handler",
        """
        def attack(at):
            import builtins, atexit, gc, random
            json.dumps = builtins.len = lambda *_: 'patched'
            sys.modules['planted'] = sys
            sys.path.insert(0, '/planted')
            os.environ['PLANTED'] = '1'
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            sys.setrecursionlimit(12345)
        """,
        said_so,
        then="""
        def attack(at):
            return (
                json.dumps(1) != '1' or len([1]) != 1 or 'planted' in sys.modules or '/planted' in sys.path
                or 'PLANTED' in os.environ or sys.getrecursionlimit() == 12345
                or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
            )
        """,
        through=NOWHERE,
    ),
    Attack(
        "leave-a-bytecode-cache",
        "leave a file in the bytecode cache of a folder that later calls import from",
        """
        def attack(at):
            place = at['python_path'] + '/__pycache__'
            os.makedirs(place, exist_ok=True)
            open(place + '/' + at['marker'], 'w')
        """,
        said_so,
        then="""
        def attack(at):
            place = at['python_path'] + '/__pycache__/' + at['marker']
            found = os.path.exists(place)
            attempts(lambda: os.unlink(place))
            return found
        """,
        through=OFF | _NEITHER,
    ),
    Attack(
        "guess-random-numbers",
        "predict the random numbers of the next call",
        "def attack(at):\n    import random\n    return random.getrandbits(64)",
        said_so,
        then="def attack(at):\n    import random\n    return random.getrandbits(64) == at['earlier']",
        through=NOWHERE,
    ),
)
