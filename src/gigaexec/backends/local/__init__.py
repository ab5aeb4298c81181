"""The backends of this machine.

base              the life of a pool; hooks
loky              reused worker processes
forkserver        a fresh process for every call; can confine programs
interpreter_exit  shutdown before the exiting interpreter joins its threads
"""

from gigaexec.backends.local.base import LocalBackend as LocalBackend
