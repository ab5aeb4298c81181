"""R35: descriptors that a call left open in a reused worker."""

from __future__ import annotations

from tests.process.scripts import json_of_script


def test_descriptors_run_low_when_more_than_half_are_open() -> None:
    script = """
import json, os, resource
from gigaexec.worker.reused.scope import descriptors_run_low

resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
at_start = descriptors_run_low()
opened = []
try:
    while True:
        opened.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
used_up = descriptors_run_low()
for descriptor in opened[8:]:
    os.close(descriptor)
print(json.dumps([at_start, used_up, descriptors_run_low()]))
"""
    assert json_of_script(script) == [False, True, False]
