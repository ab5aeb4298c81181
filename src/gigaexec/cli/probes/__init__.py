"""The probes of `gigaexec doctor`. A probe tries a feature of the machine and reports the result."""

from __future__ import annotations

from collections.abc import Iterator

from gigaexec.cli.probes.finding import Finding, State
from gigaexec.cli.probes.installation import probe_packages, probe_platform, probe_python, read_settings
from gigaexec.cli.probes.machine import probe_cpus, probe_descriptors, probe_memory
from gigaexec.cli.probes.sandbox import probe_sandbox
from gigaexec.cli.probes.spill import probe_spill_directory
from gigaexec.cli.probes.workers import probe_call, probe_parent_death

__all__ = ["Finding", "State", "run_probes"]


def run_probes() -> Iterator[Finding]:
    """Yield every finding as soon as its probe is done. The probes run one after another."""
    yield probe_platform()
    yield probe_python()
    yield from probe_packages()
    config, findings = read_settings()
    yield from findings
    yield probe_cpus(config)
    yield probe_memory(config)
    yield probe_descriptors(config)
    yield probe_spill_directory(config.spill_dir)
    yield probe_call(config)
    yield probe_parent_death(config)
    yield probe_sandbox(config)
