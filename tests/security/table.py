"""The list of all attacks, by group."""

from __future__ import annotations

from tests.security.attack import NETWORK, NO_LANDLOCK, Attack, Where
from tests.security.attacks.carried_state import CARRIED_STATE
from tests.security.attacks.forging import FORGING
from tests.security.attacks.network import NETWORK_ATTACKS
from tests.security.attacks.privileges import PRIVILEGES
from tests.security.attacks.processes import PROCESSES
from tests.security.attacks.reading import READING
from tests.security.attacks.resources import RESOURCES
from tests.security.attacks.writing import WRITING

GROUPS: dict[str, tuple[Attack, ...]] = {
    "Reading": READING,
    "Writing": WRITING,
    "Network": NETWORK_ATTACKS,
    "Other processes, and outliving the call": PROCESSES,
    "Privileges": PRIVILEGES,
    "Resources": RESOURCES,
    "Forged results and messages": FORGING,
    "State left for the next call": CARRIED_STATE,
}

ATTACKS: dict[str, Attack] = {attack.id: attack for group in GROUPS.values() for attack in group}

WORKS_FOR_ROOT = (
    *("read-proc-1-root", "driver-memory", "supervisor-memory-by-call", "chown"),
    *("trace-supervisor", "take-descriptor", "capabilities", "set-ids", "unshare-mounts", "join-namespace"),
    *("mount", "bind-mount", "unmount", "new-mount-calls", "chroot", "no-randomisation"),
)
"""Attacks that, with the sandbox off, need only privileges and no kernel setting: root succeeds."""

# The driver stops these attacks by the same code with and without Landlock, so machines without Landlock skip
# them. Only Landlock stops memory-in-device.
_STOPPED_BY_DRIVER = frozenset({*RESOURCES, *FORGING}) - {ATTACKS["memory-in-device"]}


def attacks_at(where: Where) -> list[Attack]:
    """Return the attacks for this policy. If it allows the network, only those on the network."""
    if where in NETWORK:
        return list(NETWORK_ATTACKS)
    left_out = _STOPPED_BY_DRIVER if where in NO_LANDLOCK else frozenset()
    return [attack for attack in ATTACKS.values() if attack.is_tried(where) and attack not in left_out]
