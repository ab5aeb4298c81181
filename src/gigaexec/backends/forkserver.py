"""Alias of `gigaexec.backends.local.forkserver`, under the path that it had up to 0.1."""

from gigaexec.backends.local.forkserver import ForkserverBackend as ForkserverBackend
