"""Fuzz the decoders of calls and outcomes, guided by coverage.

Run: `pip install -e . --group fuzz`, then `nice python tests/fuzz/fuzz_remote.py --seconds 120`.
The exit status is 0 if no input fails. Otherwise the output names a file with the failing input; pass that
file as an argument to run this input alone.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["gigaexec"]):
    from gigaexec.calls import ExecutionMetrics, Outcome, WorkerCall
    from gigaexec.errors import CallTimeoutError, MemoryExceededError, WorkerCrashedError
    from gigaexec.limits import Limits
    from gigaexec.measured import CapturedOutput, ConfinementStep, LimitHit
    from gigaexec.sandbox.policy import ResultFormat
    from gigaexec.wire.data.decoder import decode_data
    from gigaexec.wire.data.encoder import encode_data
    from gigaexec.wire.encoded import EncodedCall, EncodedOutcome
    from gigaexec.wire.remote.calls import decode_call, encode_call
    from gigaexec.wire.remote.message import RemoteFormatError
    from gigaexec.wire.remote.outcomes import decode_outcome, encode_outcome

# Far above the time for any valid input of this size, far below libFuzzer's own limit.
_MAX_CPU_S = 5.0
_MAX_INPUT_BYTES = 4096

_METRICS = ExecutionMetrics(1, 0.5, 0.25, 0.25, 7, "0123456789ab", "node", seed=2**63)
_HIT = LimitHit("memory_bytes", 5, 6.5)


def _seeds() -> list[bytes]:
    call = WorkerCall("code", "f", [1, "x"], {"k": 2.5}, ["/p"], {"A": None, "B": "b"}, 5)
    limits = Limits(memory_bytes=5, cpu_time_s=0.5)
    calls = [EncodedCall.from_call(call, deadline_s=5.5, queue_timeout_s=0, limits=limits)]
    value = calls[0].arguments
    errors = [
        MemoryExceededError("m\ud800", stderr="s", hit=_HIT, output=CapturedOutput(), metrics=_METRICS),
        CallTimeoutError("m", deadline_s=1.5, run_time_s=2),
        WorkerCrashedError("m", signal_name="SIGKILL", returncode=-9),
    ]
    steps = (ConfinementStep("seccomp", True, "x"), ConfinementStep("landlock_files", False))
    outcomes = [EncodedOutcome(Outcome(each.status, error=each, metrics=_METRICS)) for each in errors]
    outcomes.append(EncodedOutcome(Outcome(outcomes[0].outcome.status.OK, confinement=steps), value))
    return [b"".join(encode_call(each)) for each in calls] + [
        b"".join(map(bytes, encode_outcome(each))) for each in outcomes
    ]


# Fields and leaves with a meaning to the decoders, which mutation of bytes rarely produces.
_LEAVES: list[Any] = [
    *(
        None,
        True,
        0,
        1,
        -1,
        64,
        2**63,
        2**64 - 1,
        0.5,
        float("nan"),
        float("inf"),
        "",
        "data",
        "pickle",
        "ok",
    ),
    *("call", "outcome", "error", "LimitExceededError", "GigaexecError", "SystemExit", "memory_bytes", b"x"),
    *(
        [],
        {},
        [0, 64],
        {"name": "n", "limit": 1, "measured": None},
        {"name": "n", "held": True, "detail": ""},
    ),
]


def test_one_input(data: bytes) -> None:
    provider = atheris.FuzzedDataProvider(data)
    message = (
        _message_of_fields(provider) if provider.ConsumeBool() else provider.ConsumeBytes(_MAX_INPUT_BYTES)
    )
    began = time.thread_time()
    for decode in (decode_call, decode_outcome):
        try:
            decoded = decode(message)
        except RemoteFormatError:
            continue
        _use(decoded)
    cpu_s = time.thread_time() - began
    if cpu_s > _MAX_CPU_S:
        raise AssertionError(
            f"decoding {len(message)} bytes took {cpu_s:.1f} s of CPU time, limit {_MAX_CPU_S} s"
        )


def _message_of_fields(provider: Any) -> bytes:
    """Return a well-formed message with some fields replaced, removed or added."""
    original: bytes = provider.PickValueInList(_SAMPLES)
    end = 16 + int.from_bytes(original[8:16], "little")
    header = decode_data(original[16:end], [])
    for _ in range(provider.ConsumeIntInRange(1, 4)):
        target = header
        name = provider.PickValueInList(sorted(target))
        while isinstance(target[name], dict) and target[name] and provider.ConsumeBool():
            target = target[name]
            name = provider.PickValueInList(sorted(target))
        if provider.ConsumeIntInRange(0, 5) == 0:
            del target[name]
        else:
            target[name] = copy.deepcopy(provider.PickValueInList(_LEAVES))
        if not target:
            break
    head = encode_data(header).head
    start = b"GXEC\1\0\0\0" + len(head).to_bytes(8, "little") + head
    return start + bytes(-len(start) % 64) + original[end + -end % 64 :]


def _use(decoded: EncodedCall | EncodedOutcome) -> None:
    """Encode a decoded message twice and check that both encodings are equal."""
    if isinstance(decoded, EncodedCall):
        again = b"".join(encode_call(decoded))
        assert b"".join(encode_call(decode_call(again))) == again
    else:
        again = b"".join(encode_outcome(decoded))
        assert b"".join(encode_outcome(decode_outcome(again))) == again
        outcome = decoded.decode(ResultFormat.DATA)
        str(outcome.error)


_SAMPLES = _seeds()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=60, help="how long to run (default: 60)")
    parser.add_argument("input", nargs="?", help="a file that holds one input, to run alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as corpus:
        for number, message in enumerate(_SAMPLES):
            # FuzzedDataProvider reads the last byte first: an even one selects raw bytes instead of fields.
            Path(corpus, str(number)).write_bytes(message + b"\0")
        arguments = [options.input] if options.input else [corpus, f"-max_total_time={options.seconds}"]
        arguments.append(f"-artifact_prefix={tempfile.gettempdir()}/")
        atheris.Setup([sys.argv[0], *arguments, f"-max_len={_MAX_INPUT_BYTES}"], test_one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
