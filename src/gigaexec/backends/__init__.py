"""The backends, by name. Each is imported when it is used.

loky              reused worker processes of this machine
forkserver        a fresh process of this machine for every call; can confine programs

local             what both have in common
local_pool        one life of such a backend: the way of a call through a pool, and of its value back
interpreter_exit  shutting down before Python joins its threads
"""
