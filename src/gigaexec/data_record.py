"""Alias of `gigaexec.wire.data.record`, under the path that it had up to 0.1."""

from gigaexec.wire.data.record import DataRecord as DataRecord
