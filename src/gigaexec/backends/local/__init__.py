"""The backends of this machine.

base              what both have in common
loky              reused worker processes
forkserver        a fresh process for every call; can confine programs
interpreter_exit  shutting down before Python joins its threads
"""
