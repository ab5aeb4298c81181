"""Calls and outcomes whose values are still encoded."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gigaexec.calls import Outcome, OutcomeStatus
from gigaexec.errors import GigaexecError, InfrastructureError
from gigaexec.sandbox.policy import ResultFormat
from gigaexec.wire.values_in import ValueBytes


@dataclass(frozen=True, slots=True)
class EncodedOutcome:
    """An outcome whose value is still encoded.

    Args:
        outcome: The outcome without its value: `outcome.value` is None.
        value: The encoded value if the call ended well, else None.
    """

    outcome: Outcome
    value: ValueBytes | None = None

    def decode(self, expected: ResultFormat) -> Outcome:
        """Return the outcome with its value. Only the driver that asked for the value calls this.

        A value that cannot be read becomes the outcome's error: a `ValueNotReadableError`, status `error`.

        Args:
            expected: The format that was asked for. No other is read. `ResultFormat.PICKLE` runs code that
                the program chose.
        """
        outcome = self.outcome
        if self.value is None:
            return outcome
        try:
            value = self.value.decode(expected)
        except GigaexecError as error:
            is_infrastructure = isinstance(error, InfrastructureError)
            status = OutcomeStatus.INFRASTRUCTURE if is_infrastructure else OutcomeStatus.ERROR
            return replace(outcome, status=status, error=error)
        # Not by replace(), which takes as long as decoding a small value.
        return Outcome(
            outcome.status,
            value,
            outcome.error,
            outcome.output,
            outcome.metrics,
            outcome.queue_time_s,
            outcome.start_time_s,
            outcome.run_time_s,
            outcome.index,
            outcome.confinement,
        )
