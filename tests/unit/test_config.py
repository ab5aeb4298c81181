"""R21, R39, R51, R70, R71: configuration from code and from the environment."""

from __future__ import annotations

import logging
import math
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from gigaexec.backends.local.loky import LokyBackend
from gigaexec.checks import require_seconds
from gigaexec.config import (
    DEFAULT_ENV_PREFIXES,
    DEFAULT_ENV_WHITELIST,
    WorkerConfig,
    allowed_cpu_count,
)
from gigaexec.errors import ConfigurationError, UnsupportedPlatformError

VARIABLES = {
    "max_workers": "GIGAEVO_EXECUTOR_MAX_WORKERS",
    "idle_timeout_s": "GIGAEVO_EXECUTOR_IDLE_TIMEOUT_S",
    "spill_dir": "GIGAEVO_EXECUTOR_SPILL_DIR",
    "node_id": "GIGAEVO_EXECUTOR_NODE_ID",
    "enable_pdeathsig": "GIGAEVO_EXECUTOR_DISABLE_PDEATHSIG",
}


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, spill_dir: Path) -> None:
    """Remove all environment variables of the configuration."""
    for variable in (*VARIABLES.values(), "PYTEST_XDIST_WORKER_COUNT"):
        monkeypatch.delenv(variable, raising=False)


def allow_cpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(count)), raising=False)


def test_r70_without_variables_all_is_default() -> None:
    from_env, default = WorkerConfig.from_env(), WorkerConfig()
    for name in VARIABLES:
        assert getattr(from_env, name) == getattr(default, name)
    assert (default.max_workers, default.idle_timeout_s, default.enable_pdeathsig) == (None, 300, True)
    assert default.node_id == socket.gethostname()
    assert (default.max_calls_per_worker, default.max_worker_rss_mb) == (None, None)


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("max_workers", "3", 3),
        ("max_workers", " 12 ", 12),
        ("idle_timeout_s", "20", 20),
        ("spill_dir", "/var/tmp/spilled/../results", Path("/var/tmp/results")),
        ("node_id", "pod-7", "pod-7"),
        ("enable_pdeathsig", "1", False),
        ("enable_pdeathsig", "true", False),
        ("enable_pdeathsig", "Yes", False),
        ("enable_pdeathsig", "ON", False),
        ("enable_pdeathsig", "0", True),
        ("enable_pdeathsig", "false", True),
    ],
)
def test_r70_each_variable_is_read(
    field: str, text: str, value: object, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(VARIABLES[field], text)
    assert getattr(WorkerConfig.from_env(), field) == value
    assert not caplog.records


@pytest.mark.parametrize("field", VARIABLES)
@pytest.mark.parametrize("text", ["", "  "])
def test_r70_an_empty_value_means_unset(
    field: str, text: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(VARIABLES[field], text)
    assert getattr(WorkerConfig.from_env(), field) == getattr(WorkerConfig(), field)
    assert not caplog.records


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("max_workers", "0"),
        ("max_workers", "-2"),
        ("max_workers", "many"),
        ("max_workers", "1.5"),
        ("idle_timeout_s", "0"),
        ("idle_timeout_s", "-1"),
        ("idle_timeout_s", "soon"),
        ("idle_timeout_s", "inf"),
        ("enable_pdeathsig", "maybe"),
        ("enable_pdeathsig", "2"),
    ],
)
def test_r70_an_unreadable_value_gives_a_warning_with_the_variable_and_the_default(
    field: str, text: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(VARIABLES[field], text)
    with caplog.at_level(logging.WARNING, "gigaexec"):
        config = WorkerConfig.from_env()
    assert getattr(config, field) == getattr(WorkerConfig(), field)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert VARIABLES[field] in record.getMessage()
    assert repr(text) in record.getMessage()


def test_r70_one_bad_variable_does_not_spoil_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLES["max_workers"], "none")
    monkeypatch.setenv(VARIABLES["idle_timeout_s"], "7")
    config = WorkerConfig.from_env()
    assert (config.max_workers, config.idle_timeout_s) == (None, 7)


def test_r71_the_environment_is_read_when_a_config_is_made_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for count in ("2", "5"):
        monkeypatch.setenv(VARIABLES["max_workers"], count)
        assert LokyBackend().config.max_workers == int(count)
        assert WorkerConfig().max_workers is None


BAD_NUMBERS: list[Any] = [0, -1, math.nan, "4", True]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("max_workers", value) for value in (*BAD_NUMBERS, 2.0)],
        *[("max_calls_per_worker", value) for value in (*BAD_NUMBERS, 2.0)],
        *[("max_worker_rss_mb", value) for value in (*BAD_NUMBERS, 2.0)],
        *[("captured_output_bytes", value) for value in (*BAD_NUMBERS, None)],
        *[("idle_timeout_s", value) for value in (*BAD_NUMBERS, None)],
        *[("start_timeout_s", value) for value in (*BAD_NUMBERS, None)],
        ("pool_id", ""),
        ("pool_id", "a/b"),
        ("pool_id", "a\0b"),
        ("pool_id", 7),
        ("node_id", ""),
        ("node_id", "a\0b"),
        ("env_prefixes", "GIGAEVO_"),
        ("env_prefixes", ("GIGAEVO_", "")),
        ("env_prefixes", (b"LOKY_",)),
        ("env_whitelist", "PATH"),
        ("env_whitelist", {"PATH", 3}),
    ],
)
def test_r70_a_value_that_makes_no_sense_raises_at_once_and_names_itself(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=field) as refusal:
        WorkerConfig(**{field: value})
    assert isinstance(refusal.value, ConfigurationError)


def test_r70_only_the_wrong_names_of_a_whitelist_are_shown_as_they_are() -> None:
    with pytest.raises(ConfigurationError, match=r"env_whitelist must contain only strings, not 3, b'HOME'$"):
        WorkerConfig(env_whitelist=frozenset({"PATH", 3, b"HOME"}))  # type: ignore[arg-type]


def test_r70_fractions_of_a_second_and_no_limit_make_sense() -> None:
    config = WorkerConfig(idle_timeout_s=0.25, start_timeout_s=math.inf)
    assert (config.idle_timeout_s, config.start_timeout_s) == (0.25, math.inf)


@pytest.mark.parametrize("value", [-1, -0.001, 0, math.nan, "3", None, True])
def test_r34_a_deadline_that_makes_no_sense_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="deadline_s must be a positive number of seconds"):
        require_seconds("deadline_s", value)


def test_r34_deadlines_that_make_sense() -> None:
    assert require_seconds("deadline_s", 3) == 3.0
    assert require_seconds("deadline_s", math.inf) == math.inf
    assert require_seconds("queue_timeout_s", 0, allow_zero=True) == 0.0


def test_r39_by_default_as_many_workers_as_cpus_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    allow_cpus(monkeypatch, 6)
    assert WorkerConfig().worker_count == 6
    assert WorkerConfig(max_workers=2).worker_count == 2


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no CPU affinity on this system")
def test_r39_the_affinity_mask_counts_not_the_machine() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert allowed_cpu_count() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert allowed_cpu_count() == len(before)


@pytest.mark.parametrize(
    ("cpus", "xdist_workers", "share"), [(8, "2", 4), (8, "3", 2), (2, "8", 1), (8, "1", 8), (8, "", 8)]
)
def test_r39_under_xdist_a_worker_takes_its_share_of_the_cpus(
    cpus: int, xdist_workers: str, share: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow_cpus(monkeypatch, cpus)
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", xdist_workers)
    assert WorkerConfig().worker_count == share
    assert WorkerConfig(max_workers=7).worker_count == 7
    monkeypatch.setenv(VARIABLES["max_workers"], "5")
    assert WorkerConfig.from_env().worker_count == 5


def test_r51_the_whitelist_exactly() -> None:
    assert set(DEFAULT_ENV_WHITELIST) == {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM"),
        *("LANG", "LC_ALL", "LC_CTYPE", "LC_COLLATE", "LC_MESSAGES", "LC_NUMERIC", "LC_TIME"),
        *("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "PYTHONHASHSEED"),
        *("VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV", "PYENV_ROOT"),
        *("LD_LIBRARY_PATH", "LD_PRELOAD"),
        *("CUDA_HOME", "CUDA_PATH", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"),
        *("JAX_PLATFORMS", "JAX_TRACEBACK_FILTERING"),
        *("TMPDIR", "TEMP", "TMP"),
        *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
        "VECLIB_MAXIMUM_THREADS",
    }
    assert DEFAULT_ENV_PREFIXES == ("GIGAEVO_", "LOKY_")
    assert WorkerConfig().env_whitelist == DEFAULT_ENV_WHITELIST
    assert WorkerConfig().env_prefixes == DEFAULT_ENV_PREFIXES


def test_r50_a_worker_gets_the_whitelisted_names_and_prefixes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "MY_PROXY", "PATHS", "XGIGAEVO_A", "path"):
        monkeypatch.setenv(name, "x")
    for name in ("LC_ALL", "GIGAEVO_ANYTHING", "LOKY_PICKLER"):
        monkeypatch.setenv(name, "y")
    environment = WorkerConfig().worker_environment()
    assert environment.items() >= {"LC_ALL": "y", "GIGAEVO_ANYTHING": "y", "LOKY_PICKLER": "y"}.items()
    assert all(name in DEFAULT_ENV_WHITELIST or name.startswith(DEFAULT_ENV_PREFIXES) for name in environment)
    widened = WorkerConfig(env_whitelist=DEFAULT_ENV_WHITELIST | {"MY_PROXY"}, env_prefixes=())
    assert widened.worker_environment()["MY_PROXY"] == "x"
    assert "GIGAEVO_ANYTHING" not in widened.worker_environment()


@pytest.mark.parametrize(
    "name",
    [
        "GIGAEVO_EXECUTOR_SPILL_DIR",
        "GIGAEVO_API_KEY",
        "GIGAEVO_REDIS_password",
        "LOKY_SECRETS",
        "GIGAEVO_TOKENS",
    ],
)
def test_r118_a_prefix_does_not_match_private_names(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "x")
    assert name not in WorkerConfig().worker_environment()
    assert name not in WorkerConfig(env_prefixes=(name,)).worker_environment()
    assert WorkerConfig(env_whitelist=frozenset({name})).worker_environment()[name] == "x"


def test_r51_workers_that_share_the_cpus_share_the_threads_of_numerical_libraries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    allow_cpus(monkeypatch, 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "5")
    shared = WorkerConfig(max_workers=4).worker_environment()
    assert (shared["OMP_NUM_THREADS"], shared["MKL_NUM_THREADS"]) == ("2", "5")
    assert "OMP_NUM_THREADS" not in WorkerConfig(max_workers=1).worker_environment()
    unseen = WorkerConfig(max_workers=4, env_whitelist=frozenset({"PATH"}))
    assert "OMP_NUM_THREADS" not in unseen.worker_environment()


def test_r21_the_default_spill_directory_is_this_users_in_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert WorkerConfig().spill_dir == tmp_path / f"gigaevo-{os.getuid()}"
    assert list(tmp_path.iterdir()) == [], "creating a config must not create the folder"


def test_r21_dots_and_relative_paths_are_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert WorkerConfig(spill_dir=Path("a/../b")).spill_dir == tmp_path / "b"
    assert WorkerConfig(spill_dir=tmp_path / "a" / ".." / "c").spill_dir == tmp_path / "c"


def test_r31_each_config_names_its_own_pool() -> None:
    assert len({WorkerConfig().pool_id for _ in range(100)}) == 100


def test_r90_windows_is_refused_with_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(UnsupportedPlatformError, match=r"^gigaexec runs on Linux and macOS; [^.]*\.$"):
        LokyBackend()
