"""Run the driver as another user, who may have no access to this Python and these sources.

Root first enters a new mount namespace. There, each folder on the needed paths that is closed to other users
is covered by a tmpfs, in which its entries are bind-mounted. Other processes do not see these mounts.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from gigaexec.sandbox import namespaces
from gigaexec.sandbox.system_calls import library_call

NOBODY = 65534

_REPOSITORY = Path(__file__).parents[2]
_MS_BIND, _MS_REC = 1 << 12, 1 << 14
_PROBE = "import gigaexec, numpy, tests.security.driver"


def driver_command(uid: int, *arguments: str) -> list[str]:
    """Return the command line that runs the driver as the user `uid`."""
    run = [sys.executable, "-m", "tests.security.driver", *arguments]
    return run if uid == os.getuid() else [sys.executable, "-m", "tests.security.users", str(uid), *run]


def run_driver(uid: int, *arguments: str, secret: str, timeout_s: float) -> str:
    """Run the driver and return the last line of its stdout."""
    ended = subprocess.run(
        driver_command(uid, *arguments),
        env=driver_environment(secret),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert ended.returncode == 0, f"exit code {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout.splitlines()[-1]


def driver_environment(secret: str) -> dict[str, str]:
    return {
        **os.environ,
        "DRIVER_SECRET": secret,
        "PYTHONPATH": f"{_REPOSITORY}{os.pathsep}{_REPOSITORY / 'src'}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": "/",
        "TMPDIR": "/tmp",
    }


def why_not(uid: int) -> str:
    """Return the reason why the driver cannot run as the user `uid` on this machine, or ""."""
    if uid == os.getuid():
        return ""
    if os.getuid() != 0:
        return f"only root can become uid {uid}"
    probe = [sys.executable, "-m", "tests.security.users", str(uid), sys.executable, "-c", _PROBE]
    ended = subprocess.run(
        probe, env=driver_environment("-"), cwd="/", capture_output=True, text=True, check=False
    )
    return "" if ended.returncode == 0 else f"uid {uid} cannot run this Python: {ended.stderr[-300:]}"


def _is_closed(folder: Path) -> bool:
    return folder.is_dir() and folder.stat().st_mode & 0o005 != 0o005


def _open_to_all(path: Path) -> None:
    """Cover the closed folders of a path, so that other users can reach and read the path."""
    for folder in (*reversed(path.parents), path):
        if _is_closed(folder):
            _cover(folder)


def _cover(folder: Path) -> None:
    inside = {entry: os.open(entry, os.O_PATH | os.O_NOFOLLOW) for entry in folder.iterdir()}
    links = {entry: entry.readlink() for entry in inside if entry.is_symlink()}
    folders = {entry for entry in inside if entry.is_dir()}
    library_call("mount", b"tmpfs", os.fsencode(folder), b"tmpfs", 0, b"mode=755")
    for entry, descriptor in inside.items():
        if entry in links:
            entry.symlink_to(links[entry])
        else:
            entry.mkdir() if entry in folders else entry.touch()
            source = f"/proc/self/fd/{descriptor}".encode()
            library_call("mount", source, os.fsencode(entry), None, _MS_BIND | _MS_REC, None)
        os.close(descriptor)


def _needed() -> list[Path]:
    places = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve(), _REPOSITORY}
    places |= {Path(entry) for entry in sys.path if entry and Path(entry).exists()}
    return sorted(places)


def main() -> None:
    uid, command = int(sys.argv[1]), sys.argv[2:]
    needed = _needed()
    if any(_is_closed(folder) for place in needed for folder in (place, *place.parents)):
        namespaces.unshare(namespaces.NEW_MOUNTS)
        namespaces.make_mounts_private()
        for place in needed:
            _open_to_all(place)
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
