"""R50: the environment of a reused worker. Each check runs in its own process."""

from __future__ import annotations

import sys

import pytest
from tests.process.scripts import json_of_script

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/environ")

HEAD = """
import ctypes, json, os, pathlib
from gigaexec.worker.reused.start import replace_environment
"""


def test_r50_every_view_of_the_environment_is_replaced() -> None:
    body = """
libc = ctypes.CDLL(None)
libc.getenv.restype = ctypes.c_char_p
kept = {"GIGAEVO_WORKER_ID": "0123456789ab", "PATH": os.environ["PATH"], "NEW": "1"}
warnings = replace_environment(kept)
block = pathlib.Path("/proc/self/environ").read_bytes()
print(json.dumps([
    warnings,
    dict(os.environ) == kept,
    libc.getenv(b"A_SECRET"),
    libc.getenv(b"NEW").decode(),
    b"A_SECRET" in block or b"hidden" in block,
    block.startswith(b"GIGAEVO_WORKER_ID=0123456789ab\\0"),
]))
"""
    found = json_of_script(HEAD + body, env={"A_SECRET": "hidden"})
    assert found == [[], True, None, "1", False, True]


def test_r50_an_environment_larger_than_the_initial_one_is_cut_only_in_proc() -> None:
    body = """
kept = {"GIGAEVO_WORKER_ID": "0123456789ab", "LARGE": "x" * 1_000_000}
assert replace_environment(kept) == []
block = pathlib.Path("/proc/self/environ").read_bytes()
print(json.dumps([dict(os.environ) == kept, block.startswith(b"GIGAEVO_WORKER_ID=0123456789ab\\0")]))
"""
    assert json_of_script(HEAD + body) == [True, True]
