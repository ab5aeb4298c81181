"""The backends. Each is imported when it is used.

contract    the methods of a backend
registry    name or URL -> backend
local       the backends of this machine
loky        alias of local.loky
forkserver  alias of local.forkserver
"""
