"""A driver process that runs attacks on itself: `python -m tests.security.driver WHERE [ID...]`.

It prints one JSON object with the result of each attack. Its environment holds DRIVER_SECRET, which no
program may find. `python -m tests.security.driver WHERE strict` runs one program under the strict preset
instead.
"""

from __future__ import annotations

import asyncio
import errno
import io
import json
import logging
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy

from gigaexec import ExecutionMetrics, Outcome, WorkerCall, WorkerConfig
from gigaexec.backends.local.forkserver import ForkserverBackend
from gigaexec.sandbox.denied_calls import AnyBit, DeniedCall
from gigaexec.sandbox.policy import SandboxPolicy
from gigaexec.sandbox.seccomp import SeccompFilter, build_program
from tests.security import targets
from tests.security.attack import NO_LANDLOCK, NO_NAMESPACES, Attack, Attempt, Where
from tests.security.table import ATTACKS, attacks_at

_CONCURRENCY = 6
_NEW_NAMESPACES = 0x7E020080

_WITHOUT_NAMESPACES = (
    DeniedCall("unshare", errno.EPERM),
    DeniedCall("setns", errno.EPERM),
    DeniedCall("clone", errno.EPERM, (AnyBit(0, _NEW_NAMESPACES & ~0xFF),)),
    DeniedCall("clone3", errno.ENOSYS),
    *(DeniedCall(call, errno.EPERM) for call in ("mount", "umount2", "mount_setattr", "pivot_root")),
)
_WITHOUT_LANDLOCK = (DeniedCall("landlock_create_ruleset", errno.ENOSYS),)

_POLICIES = {
    Where.OFF: SandboxPolicy.off(),
    Where.STRICT: SandboxPolicy.strict(),
    Where.NETWORK: SandboxPolicy.standard(network=True),
}


def degrade(where: Where) -> None:
    """Refuse the system calls of missing features by a seccomp filter, as container runtimes do."""
    refusals = (_WITHOUT_NAMESPACES if where in NO_NAMESPACES else ()) + (
        _WITHOUT_LANDLOCK if where in NO_LANDLOCK else ()
    )
    if refusals:
        SeccompFilter(build_program(refusals)).install()


class Driver:
    """A runner of attacks, several at a time.

    Args:
        where: The preset, and the features that this machine lacks.
        folder: A folder that only this process uses.
    """

    def __init__(self, where: Where, folder: Path) -> None:
        self._log = io.StringIO()
        handler = logging.StreamHandler(self._log)
        logging.getLogger("gigaexec").addHandler(handler)
        logging.getLogger("gigaexec").setLevel(logging.DEBUG)
        self._folder = folder
        self._spill = folder / "spill"
        self._spill.mkdir(mode=0o700)
        on_sys_path, python_path, busy = (self._make(name) for name in ("on_sys_path", "path", "busy"))
        secret = os.environ["DRIVER_SECRET"]
        (on_sys_path / "settings.py").write_text(secret)
        sys.path.append(str(on_sys_path))
        planted = self._spill / "planted.scratch"
        planted.mkdir()
        (planted / "result").write_text(secret)
        targets.keep_busy(busy, secret)
        targets.note_signals()
        targets.allow_tracing()
        self._inherited = os.open(on_sys_path / "settings.py", os.O_RDONLY)
        os.set_inheritable(self._inherited, True)
        self._servers = targets.Servers(folder)
        self._backend = ForkserverBackend(
            WorkerConfig(
                max_workers=_CONCURRENCY,
                spill_dir=self._spill,
                sandbox=_POLICIES.get(where, SandboxPolicy.standard()),
                preload=("numpy",),
            )
        )
        self._python_path = str(python_path)
        self._common: dict[str, Any] = {
            "secret": secret,
            "log": self._log,
            "at": {
                "driver": os.getpid(),
                "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
                "spill": str(self._spill),
                "planted": str(planted / "result"),
                "on_sys_path": str(on_sys_path),
                "python_path": self._python_path,
                "busy": str(busy),
                "is_off": where is Where.OFF,
                "calls": targets.call_numbers(),
            },
        }
        self._shared = self._backend.share(numpy.zeros(2_000_000, "u1"))

    async def run(self, attacks: list[Attack]) -> dict[str, Any]:
        """Run the attacks and return their results, and files and warnings that the backend left."""
        slots = asyncio.Semaphore(_CONCURRENCY)

        async def one(attack: Attack) -> tuple[str, Any]:
            async with slots:
                return attack.id, await self._attack(attack)

        results = dict(await asyncio.gather(*(one(attack) for attack in attacks if not attack.is_alone)))
        for attack in attacks:
            if attack.is_alone:
                results[attack.id] = await self._attack(attack)
        alive = await self._call("def attack(at): return 'alive'", {}, 30.0, None)
        await self._backend.shutdown(wait=True)
        left = [entry.name for entry in self._spill.iterdir() if entry.name != "planted.scratch"]
        warnings = [line for line in self._log.getvalue().splitlines() if "could not" in line]
        return {
            "attacks": results,
            "alive": alive.value,
            "left": [*left, *warnings],
            "confinement": _steps(alive),
        }

    async def _attack(self, attack: Attack) -> dict[str, Any]:
        attack_targets = targets.Targets(
            attack.id, self._folder, self._servers, self._common, needs_victim=attack.needs_victim
        )
        earlier: Any = None
        began, began_cpu = time.monotonic(), time.process_time()
        try:
            for source in attack.sources():
                began, began_cpu = time.monotonic(), time.process_time()
                argument = {**attack_targets.at, "shared": self._shared, "earlier": earlier}
                outcome = await self._call(source, argument, attack.deadline_s, attack)
                earlier = outcome.value
            took_s, driver_cpu_s = time.monotonic() - began, time.process_time() - began_cpu
            attempt = Attempt(attack_targets, outcome, took_s, driver_cpu_s)
            return {
                # In a thread, because the check may wait for effects of the program.
                "through": await asyncio.to_thread(attack.got_through, attempt),
                "detail": _described(outcome),
                "took_s": round(attempt.took_s, 2),
            }
        except Exception:
            # backend.run raises for no outcome, so an exception here counts as success of the attack.
            return {"through": True, "detail": traceback.format_exc(), "took_s": 0.0}
        finally:
            attack_targets.remove()

    async def _call(
        self, source: str, argument: dict[str, Any], deadline_s: float, attack: Attack | None
    ) -> Outcome:
        names = [field.name for field in fields(ExecutionMetrics)]
        call = WorkerCall(
            code=f"METRICS = {names!r}\n{source}",
            function_name="attack",
            args=[argument],
            python_path=[self._python_path],
        )
        return await self._backend.run(
            call, deadline_s=deadline_s, limits=attack.limits if attack is not None else None
        )

    def _make(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir()
        return folder


def _described(outcome: Outcome) -> str:
    text = f"{outcome.status}: {outcome.value!r:.300} {outcome.error!s:.600}"
    return f"{text} | {outcome.output.stderr[-500:]}"


def _steps(outcome: Outcome) -> dict[str, Any]:
    return {step.name: [step.held, step.detail] for step in outcome.confinement}


async def refused_by_strict(folder: Path) -> dict[str, Any]:
    """Submit a program under `strict`; return its outcome and whether the program ran."""
    marker = folder / "writable" / "ran"
    marker.parent.mkdir()
    config = WorkerConfig(
        max_workers=1, spill_dir=folder / "spill", sandbox=SandboxPolicy.strict(write=[marker.parent])
    )
    backend = ForkserverBackend(config)
    call = WorkerCall(f"open({str(marker)!r}, 'w')\ndef f(): return 1", "f")
    outcome = await backend.run(call, deadline_s=20)
    await backend.shutdown(wait=True)
    return {
        "status": outcome.status,
        "error": type(outcome.error).__name__,
        "message": str(outcome.error),
        "ran": marker.exists(),
        "confinement": _steps(outcome),
    }


def main() -> None:
    where = Where(sys.argv[1])
    what = sys.argv[2:]
    degrade(where)
    folder = Path(tempfile.mkdtemp(prefix="targets-"))
    try:
        if what == ["strict"]:
            report = asyncio.run(refused_by_strict(folder))
        else:
            attacks = [ATTACKS[name] for name in what] if what else attacks_at(where)
            report = asyncio.run(Driver(where, folder).run(attacks))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
