"""The only function of loky that gigaexec uses, `loky.backend.fork_exec.fork_exec`, does what is expected.

The function is not documented by loky. If a test fails here after a release of loky, adapt
`pool/starters/loky.py`, or keep loky below that release in pyproject.toml.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest
from loky.backend.fork_exec import fork_exec

from gigaexec.pool.starters import loky as starter

REPORT = """
import json, os, signal
report = {
    "descriptors": sorted(int(name) for name in os.listdir("/dev/fd")),
    "variables": [os.environ.get(name) for name in ("OLD", "NEW")],
    "blocks_sigint": signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()),
}
os.write(int(os.environ["WRITER"]), json.dumps(report).encode())
"""


def test_r52_a_process_gets_the_named_descriptors_the_variables_and_the_signal_mask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OLD", "inherited")
    reader, writer = os.pipe()
    other, another = os.pipe()
    os.set_inheritable(other, True)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        pid = fork_exec([sys.executable, "-c", REPORT], [writer], env={"NEW": "added", "WRITER": str(writer)})
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    assert os.waitpid(pid, 0)[1] == 0
    report = json.loads(os.read(reader, 4096))
    for descriptor in (reader, writer, other, another):
        os.close(descriptor)
    assert set(report["descriptors"]) - {0, 1, 2} - {writer} <= {3}, "only os.listdir may have opened another"
    assert report["variables"] == ["inherited", "added"]
    assert report["blocks_sigint"]


def test_nothing_else_of_loky_is_used() -> None:
    assert starter.__file__ is not None
    source = Path(starter.__file__).read_text(encoding="utf-8")
    imports = re.findall(r"^(?:import|from) loky.*", source, re.MULTILINE)
    assert imports == ["from loky.backend.fork_exec import fork_exec"]
