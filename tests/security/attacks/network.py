"""Attacks that connect or send through sockets."""

from __future__ import annotations

from tests.security.attack import (
    NETWORK,
    NOWHERE,
    OFF,
    Attack,
    received,
    said_so,
)


def _makes_socket(name: str, what: str, arguments: str) -> Attack:
    return Attack(
        name,
        what,
        f"def attack(at): return socket.socket({arguments}) is not None",
        said_so,
        depends=OFF,
    )


NETWORK_ATTACKS = (
    Attack(
        "tcp",
        "connect to a TCP server of this machine",
        "def attack(at): socket.create_connection(('127.0.0.1', at['tcp'])).sendall(at['marker'].encode())",
        received,
        through=OFF | NETWORK,
    ),
    Attack(
        "tcp-by-other-program",
        "connect to a TCP server with an executed program",
        """
        def attack(at):
            target = f"/dev/tcp/127.0.0.1/{at['tcp']}"
            subprocess.run(['bash', '-c', f"echo {at['marker']} > {target}"], check=True)
        """,
        received,
        through=OFF | NETWORK,
    ),
    Attack(
        "udp",
        "send a UDP packet",
        "def attack(at): socket.socket(2, 2).sendto(at['marker'].encode(), ('127.0.0.1', at['udp']))",
        received,
        through=OFF | NETWORK,
    ),
    Attack(
        "tcp-fast-open",
        "connect to a TCP server by sending with MSG_FASTOPEN",
        """
        def attack(at):
            socket.socket().sendto(at['marker'].encode(), 0x20000000, ('127.0.0.1', at['tcp']))
        """,
        received,
        depends=OFF,
    ),
    Attack(
        "mptcp",
        "connect to a TCP server by multipath TCP",
        """
        def attack(at):
            connection = socket.socket(2, 1, 262)
            connection.connect(('127.0.0.1', at['tcp']))
            connection.sendall(at['marker'].encode())
        """,
        received,
        depends=OFF,
    ),
    Attack(
        "listen",
        "listen on a TCP port",
        "def attack(at): return socket.create_server(('127.0.0.1', 0)) is not None",
        said_so,
        through=OFF | NETWORK,
    ),
    Attack(
        "unix-path",
        "connect to a Unix socket by its path",
        """
        def attack(at):
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(at['unix'])
            connection.sendall(at['marker'].encode())
        """,
        received,
    ),
    Attack(
        "unix-datagram-pair",
        "send to a Unix socket from one end of a datagram pair",
        """
        def attack(at):
            one, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            one.sendto(at['marker'].encode(), at['datagram'])
        """,
        received,
    ),
    Attack(
        "unix-abstract",
        "connect to an abstract Unix socket",
        """
        def attack(at):
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(at['abstract'])
            connection.sendall(at['marker'].encode())
        """,
        received,
    ),
    Attack(
        "reuse-channel-socket",
        "connect the worker's channel, or one end of a socket pair, to another socket",
        """
        def attack(at):
            pair = socket.socketpair()
            for each in (*pair, channel()):
                for address in (at['unix'], at['abstract']):
                    attempts(lambda: each.connect(address))
            attempts(lambda: pair[0].send(at['marker'].encode()))
        """,
        received,
        through=NOWHERE,
    ),
    _makes_socket("vsock", "create a vsock socket, which reaches the host of a virtual machine", "40, 1"),
    _makes_socket("netlink", "create a netlink socket", "16, 3, 0"),
    _makes_socket("raw", "create a raw socket", "2, 3, 1"),
    _makes_socket("packet", "create a packet socket", "17, 3"),
    _makes_socket("alg", "create a socket of the kernel's crypto API", "38, 5"),
    Attack(
        "socket-of-32-bits",
        "create a socket with a 32-bit system call, which has another number",
        """
        def attack(at):
            if os.uname().machine != 'x86_64':
                return False
            code = bytes.fromhex('53 b8 67 01 00 00 bb 02 00 00 00 b9 01 00 00 00 31 d2 cd 80 5b c3')
            page = mmap.mmap(-1, 4096, prot=7)
            page.write(code)
            address = ctypes.addressof(ctypes.c_char.from_buffer(page))
            return ctypes.CFUNCTYPE(ctypes.c_int)(address)() >= 0
        """,
        said_so,
        depends=OFF,
    ),
    Attack(
        "io-uring",
        "set up an io_uring, which can create sockets without system calls",
        "def attack(at): return call(425, 4, ctypes.create_string_buffer(256)) >= 0",
        said_so,
        depends=OFF,
    ),
)
