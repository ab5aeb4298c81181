"""Seeds the random generators of a call.

A forked process inherits the state of its parent's generators. Without a new seed, every call would draw the
same numbers. A call can be repeated with the seed that its metrics contain.
"""

from __future__ import annotations

import importlib.machinery
import os
import random
import sys
import types
from collections.abc import Sequence
from typing import Any

_NUMPY_GENERATORS = "numpy.random.mtrand"
_NUMPY_SEED_LIMIT = 2**32
_HASH_SEED_LIMIT = 2**32


def draw_seed() -> int:
    """Return a new seed: 64 random bits from the operating system."""
    return int.from_bytes(os.urandom(8), "big")


def seed_generators(seed: int) -> None:
    """Seed `random` and numpy's global generator: numpy's at once, or later when numpy is imported."""
    random.seed(seed)
    generators: Any = sys.modules.get(_NUMPY_GENERATORS)
    if generators is not None:
        _seed_numpy(generators, seed)
    else:
        sys.meta_path.insert(0, _NumpySeeder(seed))


def seed_hashing_of_children(seed: int) -> None:
    """Seed string hashing in interpreters that the program starts. This interpreter keeps its hash seed."""
    os.environ["PYTHONHASHSEED"] = str(seed % _HASH_SEED_LIMIT)


def _seed_numpy(generators: Any, seed: int) -> None:
    # numpy takes the seed as words of 32 bits, low word first.
    generators.seed([seed % _NUMPY_SEED_LIMIT, seed // _NUMPY_SEED_LIMIT])


class _NumpySeeder:
    """An import finder that seeds numpy's global generator as soon as `numpy.random.mtrand` is loaded."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != _NUMPY_GENERATORS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            execute = loader.exec_module

            def exec_module(module: types.ModuleType) -> None:
                execute(module)
                _seed_numpy(module, self._seed)

            loader.exec_module = exec_module
        return spec
