"""Alias of `gigaexec.backends.local.loky`, under the path that it had up to 0.1."""

from gigaexec.backends.local.loky import LokyBackend as LokyBackend
