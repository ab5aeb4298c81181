"""R6: output of a program is captured on every path, bounded and returned."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gigaexec import CallTimeoutError, ExecRunnerError, OutcomeStatus
from tests.contract.conftest import MakeBackend, Run

_LIMIT = 64 * 1024  # the default of captured_output_bytes


def test_r6_output_of_prints_c_code_and_children_is_captured(run: Run) -> None:
    code = """
import ctypes, os, subprocess, sys
def f():
    print("from python")
    sys.stdout.flush()
    print("a warning", file=sys.stderr)
    libc = ctypes.CDLL(None)
    libc.puts(b"from C")
    libc.fflush(None)
    os.write(2, b"raw\\n")
    subprocess.run("echo from a child; echo its error >&2", shell=True)
"""
    output = run(code).output
    assert output.stdout == "from python\nfrom C\nfrom a child\n"
    assert output.stderr == "a warning\nraw\nits error\n"
    assert (output.stdout_bytes, output.stderr_bytes) == (len(output.stdout), len(output.stderr))


def test_r6_output_in_c_buffers_belongs_to_its_call(run: Run) -> None:
    code = """
import ctypes
def f():
    libc = ctypes.CDLL(None)
    libc.setvbuf(ctypes.c_void_p.in_dll(libc, "stdout"), None, 0, 8192)
    libc.puts(b"late")
"""
    assert run(code).output.stdout == "late\n"
    assert not run("def f(): pass").output


def test_r6_a_failure_carries_its_output_marked_as_captured(run: Run) -> None:
    outcome = run("def f():\n    print('on my way')\n    raise ValueError('lost')")
    error = outcome.error
    assert isinstance(error, ExecRunnerError)
    assert error.output == outcome.output
    traceback_text, mark, captured = error.stderr.partition("--- captured output: stdout ---\n")
    assert "ValueError: lost" in traceback_text
    assert mark
    assert captured == "on my way\n"


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("while True: pass", OutcomeStatus.TIMED_OUT),
        ("os._exit(1)", OutcomeStatus.CRASHED),
        ("os.kill(os.getpid(), 9)", OutcomeStatus.CRASHED),
        ("ctypes.string_at(0)", OutcomeStatus.CRASHED),
    ],
)
def test_r6_output_survives_a_timeout_and_a_crash(run: Run, end: str, status: OutcomeStatus) -> None:
    code = f"import ctypes, os\ndef f():\n    print('last words')\n    os.write(2, b'and these')\n    {end}"
    outcome = run(code, deadline_s=0.4)
    assert outcome.status is status
    assert outcome.output.stdout == "last words\n"
    assert outcome.output.stderr.startswith("and these")
    assert "last words" in str(outcome.error)
    assert isinstance(outcome.error, CallTimeoutError | ExecRunnerError)
    assert outcome.error.output == outcome.output


def test_r6_a_long_output_keeps_its_head_and_tail_and_the_size_of_the_cut(run: Run) -> None:
    code = "def f():\n    for number in range(200_000): print(number)\n    raise ValueError"
    outcome = run(code)
    text, written = outcome.output.stdout, outcome.output.stdout_bytes
    assert written == sum(len(f"{number}\n") for number in range(200_000))
    assert text.startswith("0\n1\n2\n")
    assert text.endswith("199998\n199999\n")
    assert f"[{written - _LIMIT} bytes left out]" in text
    assert len(text) < _LIMIT + 100
    assert len(str(outcome.error)) < _LIMIT + 5_000


def test_r6_the_bound_can_be_set(make_backend: MakeBackend) -> None:
    import asyncio

    from gigaexec import WorkerCall

    backend = make_backend(captured_output_bytes=800)
    call = WorkerCall("def f(): print('a' * 500 + 'b' * 500)", "f")
    text = asyncio.run(backend.run(call, deadline_s=30)).output.stdout
    assert text.count("a") == 100 + 199
    assert text.count("b") == 500 + 1


def test_r6_output_of_one_call_is_not_in_the_next(run: Run) -> None:
    for word in ("one", "two"):
        assert run(f"def f(): print({word!r})").output.stdout == f"{word}\n"
    run("import threading, time\ndef f():\n    print('three', end='')")
    assert not run("def f(): pass").output


def test_r6_streams_that_a_program_breaks_are_restored(run: Run) -> None:
    breaks = (
        "sys.stdout = None; sys.stderr = 3",
        "sys.stdout.close(); sys.stderr.close()",
        "os.close(0); os.close(1); os.close(2)",
        "os.dup2(os.open('/dev/null', os.O_WRONLY), 1)",
        "sys.stdout.detach()",
        "sys.stdout = open('/dev/full', 'w'); sys.stdout.write('x')",
    )
    for broken in breaks:
        assert run(f"import os, sys\ndef f():\n    {broken}").ok, broken
        after = run("import os, sys\ndef f():\n    print('fine')\n    print('too', file=sys.stderr)")
        assert (after.output.stdout, after.output.stderr) == ("fine\n", "too\n"), broken


def test_r6_standard_input_is_empty(run: Run) -> None:
    outcome = run("def f(): return input()")
    assert outcome.status is OutcomeStatus.ERROR
    assert "EOFError" in str(outcome.error)


def test_r6_output_that_is_not_utf8_is_captured(run: Run) -> None:
    outcome = run("import os\ndef f():\n    os.write(1, b'a\\xff\\x00b')\n    print('\\ud800')")
    assert outcome.output.stdout == "a\ufffd\0b"
    assert "UnicodeEncodeError" in str(outcome.error)


def test_r6_nothing_reaches_the_driver_s_terminal() -> None:
    script = """
import gigaexec
code = '''
import os, subprocess
def f():
    print("LEAK")
    os.write(2, b"LEAK")
    subprocess.run("echo LEAK; echo LEAK >&2", shell=True)
    END
'''
if __name__ == "__main__":
    for end in ("return 1", "raise ValueError", "os._exit(1)", "os.abort()"):
        try:
            gigaexec.run(code.replace("END", end), "f")
        except gigaexec.ExecRunnerError:
            pass
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
