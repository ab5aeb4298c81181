"""The state that workers inherit from a template that has run its warm-up calls."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from tests.process.scripts import json_of_script

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="templates fork workers on Linux only")

HEAD = """
import json, os, pickle, signal, sys, tempfile
from gigaexec.sandbox.isolation import Isolation
from gigaexec.sandbox.policy import ResultFormat, SandboxPolicy
from gigaexec.worker.forked.inherited import InheritedState
from gigaexec.worker.forked.warm_up import warm_up

signal.signal(signal.SIGINT, signal.SIG_IGN)
inherited = InheritedState()

def state():
    finders, handler = list(map(repr, sys.meta_path)), repr(signal.getsignal(signal.SIGINT))
    return [list(sys.path), finders, handler, os.getcwd()]

before = state()
warm_up(inherited, ResultFormat.PICKLE, Isolation(SandboxPolicy.off(), tempfile.gettempdir()))
"""


def run_warm_up_script(body: str, *arguments: str) -> Any:
    return json_of_script(HEAD + body, *arguments)


def test_warm_up_restores_what_its_calls_changed() -> None:
    body = """
print(json.dumps([state() == before, "user_code" in sys.modules, bool(inherited.usual_ready)]))
"""
    assert run_warm_up_script(body) == [True, False, True]


def test_only_modules_that_the_call_loads_from_its_own_folders_are_its_own(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("VALUE = 1\n")
    body = """
imports = inherited.imports([sys.argv[1]], "")
imports.prepare()
import helper, plistlib
helpers = imports.register_helpers_by_value()
print(json.dumps([[module.__name__ for module in helpers], sys.path[0] == sys.argv[1]]))
"""
    assert run_warm_up_script(body, str(tmp_path)) == [["helper"], True]
