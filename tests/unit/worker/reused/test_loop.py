"""R33, R35: calls that cannot be prepared, and threads that a call left in a reused worker."""

from __future__ import annotations

import pytest
from tests.process.scripts import json_of_script

_RUN = r"""
import json, os, pickle, sys, tempfile
from gigaexec.worker.call.accounting import Accountant
from gigaexec.sandbox.policy import ResultFormat
from gigaexec.wire.messages import CallHeader, ReceivedCall
from gigaexec.wire.values_in import ValueBytes
from gigaexec.worker.reused.scope import RestoredStreams
from gigaexec.worker.reused.loop import Worker

answers = os.dup(1)
path = list(sys.path)
worker = Worker(Accountant("0123456789ab", "node"), RestoredStreams(os.dup(1), os.dup(2)), None)
spill_path = tempfile.mktemp()

def run(code, python_path, env):
    header = CallHeader(code, "f", python_path, env, spill_path)
    return worker.run(ReceivedCall(header, bytearray(pickle.dumps(([], {}))), []))

failed = run("def f(): return 1", PYTHON_PATH, ENV)
after = run("import os, sys\ndef f(): return 'BEFORE' in os.environ, sys.path", [], {})
seen = ValueBytes(after.layout, after.inline_value).decode(ResultFormat.DATA)
is_as_before = seen == (False, path)
os.write(answers, json.dumps([failed.error.kind, failed.error.summary, is_as_before]).encode())
"""


@pytest.mark.parametrize(
    ("python_path", "env"),
    [
        ("[]", "{'BEFORE': '1', 'A': chr(0xD800)}"),
        ("[]", "{'BEFORE': '1', chr(0xD800): 'a'}"),
        ("['/x' + chr(0xD800)]", "{'BEFORE': '1'}"),
        ("['/x' + chr(0)]", "{'BEFORE': '1'}"),
    ],
)
def test_r33_an_env_or_path_that_the_system_refuses_fails_the_call(python_path: str, env: str) -> None:
    script = _RUN.replace("PYTHON_PATH", python_path).replace("ENV", env)
    kind, summary, is_as_before = json_of_script(script)
    assert kind == "arguments"
    assert summary.startswith("the call's env or python_path cannot be set: ")
    assert ("surrogates" in summary) or ("null" in summary)
    assert is_as_before


def test_running_threads_are_named_and_ended_threads_are_not() -> None:
    script = """
import json, threading
from gigaexec.worker.reused.loop import leftover_thread_names

gate = threading.Event()
ended = threading.Thread(target=int, name="ended")
ended.start()
ended.join()
threads = [threading.Thread(target=gate.wait, name=name, daemon=True) for name in ("poller", "logger")]
for thread in threads:
    thread.start()
names = leftover_thread_names()
gate.set()
for thread in threads:
    thread.join()
print(json.dumps([names, leftover_thread_names()]))
"""
    assert json_of_script(script) == [["poller", "logger"], []]
