"""Targets that the program of an attack must not reach: files, servers and processes."""

from __future__ import annotations

import ctypes
import io
import os
import shutil
import signal
import socket
import stat
import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gigaexec.sandbox.call_numbers import NUMBERS
from gigaexec.sandbox.system_calls import number_of

_SIGNALS: list[int] = []


class Servers:
    """Servers on TCP, UDP, named Unix and abstract Unix sockets, which record all received bytes."""

    def __init__(self, folder: Path) -> None:
        name = uuid.uuid4().hex
        self.unix_path = str(folder / "stream.socket")
        self.datagram_path = str(folder / "datagram.socket")
        self.abstract_name = f"\0gigaexec-{name}"
        self._received = bytearray()
        self._tcp = socket.create_server(("127.0.0.1", 0), backlog=50)
        self._tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 5)
        self._udp = _bound(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0))
        self._sockets = [
            self._tcp,
            self._udp,
            _bound(socket.AF_UNIX, socket.SOCK_STREAM, self.unix_path),
            _bound(socket.AF_UNIX, socket.SOCK_DGRAM, self.datagram_path),
            _bound(socket.AF_UNIX, socket.SOCK_STREAM, self.abstract_name),
        ]
        self.tcp_port: int = self._tcp.getsockname()[1]
        self.udp_port: int = self._udp.getsockname()[1]
        for each in self._sockets:
            serve = self._serve_datagrams if each.type == socket.SOCK_DGRAM else self._serve_stream
            threading.Thread(target=serve, args=[each], daemon=True).start()

    def has_received(self, text: str) -> bool:
        return text.encode() in self._received

    def _serve_datagrams(self, listener: socket.socket) -> None:
        while True:
            self._received += listener.recv(4096)

    def _serve_stream(self, listener: socket.socket) -> None:
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(2)
                try:
                    self._received += connection.recv(4096)
                except OSError:
                    continue


class Targets:
    """The targets of one attack.

    Args:
        name: Id of the attack.
        folder: Parent of the folder for the target files.
        servers: The servers of the driver.
        common: The secret, the driver's log, and arguments common to all programs.
        needs_victim: True to start a target process.
    """

    def __init__(
        self, name: str, folder: Path, servers: Servers, common: dict[str, Any], *, needs_victim: bool
    ) -> None:
        self.secret = common["secret"]
        self.marker = f"marker-{uuid.uuid4().hex}"
        self._servers = servers
        self._log: io.StringIO = common["log"]
        self._folder = folder / name
        self._spill = Path(common["at"]["spill"])
        (self._folder / ".ssh").mkdir(parents=True)
        self._secret_file = self._folder / "secret.txt"
        self._victim_file = self._folder / "victim.txt"
        for file in (self._secret_file, self._folder / ".ssh" / "id_ed25519"):
            file.write_text(f"secret {self.secret}")
            file.chmod(0o600)
        self._victim_file.write_text("untouched")
        (self._folder / "empty").mkdir()
        self._victim = subprocess.Popen(["sleep", "100"], start_new_session=True) if needs_victim else None
        self._victim_state = self._state_of_victim()
        self.at = {
            **common["at"],
            "folder": str(self._folder),
            "secret": str(self._secret_file),
            "file": str(self._victim_file),
            "marker": self.marker,
            "marker_file": str(self._folder / self.marker),
            "victim": self._victim.pid if self._victim else 0,
            "tcp": servers.tcp_port,
            "udp": servers.udp_port,
            "unix": servers.unix_path,
            "datagram": servers.datagram_path,
            "abstract": servers.abstract_name,
        }
        self._before = self._snapshot()

    def has_changed(self) -> bool:
        return self._snapshot() != self._before or self._state_of_victim() != self._victim_state

    def was_received(self) -> bool:
        return wait_for(lambda: self._servers.has_received(self.marker), 0.1)

    def has_victim_ended(self) -> bool:
        return self._victim is None or wait_for(lambda: self._victim_was_hit(), 0.1)

    def was_driver_sent(self, signal_number: int) -> bool:
        return signal_number in _SIGNALS

    def has_marker(self) -> bool:
        return (self._folder / self.marker).exists()

    def has_survivors(self) -> bool:
        return bool(self._survivors())

    def has_old_scratch(self) -> bool:
        """Return True if a scratch folder with files still exists 5 s after the check starts."""
        return not wait_for(lambda: not any(map(_holds_deep, self._spill.glob("*.scratch"))), 5.0)

    def log_has(self, text: str) -> bool:
        return text in self._log.getvalue()

    def remove(self) -> None:
        """Remove the target files and kill the target process and processes of the attack."""
        for pid in self._survivors():
            os.kill(pid, signal.SIGKILL)
        if self._victim is not None:
            self._victim.kill()
            self._victim.wait()
        for folder in ("/dev/shm", "/tmp", "/var/tmp"):
            for left in Path(folder).glob(f"*{self.marker}*"):
                left.unlink()
        for left in self._spill.glob(f"*{self.marker}*"):
            left.unlink()
        # The attack may have removed the permissions of folders.
        for path in (self._folder, *self._folder.rglob("*")):
            if not path.is_symlink() and path.is_dir():
                path.chmod(0o700)
        shutil.rmtree(self._folder)

    def _victim_was_hit(self) -> bool:
        assert self._victim is not None
        return self._victim.poll() is not None or _state_of(self._victim.pid) == "T"

    def _survivors(self) -> list[int]:
        """Return the pids of processes whose command line contains the marker."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and entry.name != str(os.getpid()):
                try:
                    if self.marker.encode() in (entry / "cmdline").read_bytes():
                        found.append(int(entry.name))
                except OSError:
                    continue
        return found

    def _state_of_victim(self) -> tuple[Any, ...]:
        if self._victim is None:
            return ()
        pid = self._victim.pid
        try:
            limits = Path(f"/proc/{pid}/limits").read_text()
            return os.getpriority(os.PRIO_PROCESS, pid), tuple(os.sched_getaffinity(pid)), limits
        except OSError:
            return ("gone",)

    def _snapshot(self) -> dict[str, Any]:
        places = [self._folder, *self._folder.rglob("*")]
        places += [Path(self.at["on_sys_path"]), Path(self.at["python_path"]), Path(self.at["planted"])]
        places += Path(self.at["on_sys_path"]).glob(f"*{self.marker}*")
        places += Path(self.at["python_path"]).glob(f"*{self.marker}*")
        places += self._spill.glob(f"*{self.marker}*")
        return {str(place): _facts(place) for place in places if not place.name.startswith("noticed")}


def _facts(place: Path) -> tuple[Any, ...]:
    try:
        found = place.lstat()
    except FileNotFoundError:
        return ()
    content = place.read_bytes() if stat.S_ISREG(found.st_mode) and os.access(place, os.R_OK) else b""
    is_shared = stat.S_ISDIR(found.st_mode)  # other attacks create files in shared folders
    xattrs = tuple(os.listxattr(place)) if stat.S_ISREG(found.st_mode) else ()
    modified = 0 if is_shared else found.st_mtime_ns
    return (
        content,
        found.st_mode,
        found.st_uid,
        found.st_gid,
        found.st_nlink * (not is_shared),
        modified,
        xattrs,
    )


def _holds_deep(scratch: Path) -> bool:
    try:
        return any(entry.name.startswith("deep") for entry in scratch.iterdir())
    except FileNotFoundError:
        return False


def _state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _bound(family: socket.AddressFamily, kind: socket.SocketKind, address: Any) -> socket.socket:
    made = socket.socket(family, kind)
    made.bind(address)
    if kind == socket.SOCK_STREAM:
        made.listen(50)
    return made


def wait_for(check: Callable[[], bool], timeout_s: float) -> bool:
    """Poll `check` for up to `timeout_s` seconds; return True as soon as it is true, otherwise False."""
    limit = time.monotonic() + timeout_s
    while not check():
        if time.monotonic() > limit:
            return False
        time.sleep(0.005)
    return True


def note_signals() -> None:
    """Record the signals SIGUSR1, SIGUSR2 and SIGWINCH that this process receives."""
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH):
        signal.signal(number, lambda received, _: _SIGNALS.append(received))


def keep_busy(folder: Path, secret: str) -> None:
    """Create and remove a file with the secret in its name repeatedly, for attacks that watch the folder."""

    def make() -> None:
        file = folder / f"noticed-{secret}"
        while folder.exists():
            try:
                file.touch()
                file.unlink()
            except FileNotFoundError:
                return  # the folder is being removed
            time.sleep(0.02)

    threading.Thread(target=make, daemon=True).start()


def call_numbers() -> dict[str, int]:
    """Map names of system calls to their numbers on this machine, if it has them."""
    found = {name: number_of(name) for name in NUMBERS}
    return {name: number for name, number in found.items() if number is not None}


def allow_tracing() -> None:
    """Allow all processes of this user to trace this one even if Yama forbids it (PR_SET_PTRACER_ANY)."""
    ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)
