"""The backends. A backend is imported on first use.

contract    the methods of a backend
registry    finds a backend by name or URL
local       the backends that run calls on this machine
loky        alias of local.loky
forkserver  alias of local.forkserver
"""
