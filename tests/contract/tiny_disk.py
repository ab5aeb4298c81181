"""A small file system for tests of a full disk."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def tiny_disk(folder: Path, *, size_kb: int) -> Iterator[Path]:
    """Mount a tmpfs of `size_kb` KiB for the block; skip the test if the user may not mount."""
    if os.getuid() != 0:
        pytest.skip("only root may mount a tmpfs")
    folder.mkdir()
    options = f"size={size_kb}k,mode=700"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"mount of a tmpfs failed: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
