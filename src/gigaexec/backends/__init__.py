"""The backends. Each is imported when it is used.

contract    what a backend is
local       the backends of this machine
loky        alias of local.loky
forkserver  alias of local.forkserver
"""
