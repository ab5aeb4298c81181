"""The backends that run calls on this machine.

base              base class: starts and ends the pool, calls the hooks
loky              reused worker processes
forkserver        a fresh process for every call; can confine programs
interpreter_exit  shuts backends down when the interpreter exits
"""

from gigaexec.backends.local.base import LocalBackend as LocalBackend
