"""The results file that `--output` writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from gigaexec.cli.results_file import ResultsFile
from gigaexec.errors import ConfigurationError, InfrastructureError


@pytest.mark.parametrize("overwrite", [False, True])
def test_run_without_a_line_leaves_no_file(tmp_path: Path, overwrite: bool) -> None:
    for _ in range(2):
        with pytest.raises(RuntimeError), ResultsFile(tmp_path, overwrite=overwrite):
            raise RuntimeError("no context")
        assert list(tmp_path.iterdir()) == []


def test_earlier_results_are_replaced_by_the_first_line(tmp_path: Path) -> None:
    with ResultsFile(tmp_path, overwrite=True) as results:
        results.write("a longer line of the first run")
    with ResultsFile(tmp_path, overwrite=True):
        pass
    assert results.path.read_text() == "a longer line of the first run\n"
    with ResultsFile(tmp_path, overwrite=True) as results:
        for line in ("one", "two"):
            results.write(line)
    assert results.path.read_text() == "one\ntwo\n"
    with pytest.raises(ConfigurationError, match="--overwrite"):
        ResultsFile(tmp_path, overwrite=False)


def test_full_disk_is_told_as_the_failure_of_the_write(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").symlink_to("/dev/full")
    with (
        pytest.raises(InfrastructureError, match=r"results\.jsonl cannot be written: No space left"),
        ResultsFile(tmp_path, overwrite=True) as results,
    ):
        results.write("line")
