"""The configuration that the environment gives."""

from __future__ import annotations

import logging

from gigaexec.cli.probes.finding import Finding, State
from gigaexec.config import WorkerConfig

_CONFIG_LOGGER = "gigaexec.config"


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def read_settings() -> tuple[WorkerConfig, list[Finding]]:
    """The configuration, and a finding for each variable that cannot be read."""
    collector = _Collector()
    config_logger = logging.getLogger(_CONFIG_LOGGER)
    propagates, config_logger.propagate = config_logger.propagate, False
    config_logger.addHandler(collector)
    try:
        config = WorkerConfig.from_env()
    finally:
        config_logger.removeHandler(collector)
        config_logger.propagate = propagates
    advice = "Correct the variable or unset it."
    return config, [Finding("settings", State.WARNING, text, advice) for text in collector.messages]
