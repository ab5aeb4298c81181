"""Starting worker processes.

contract          a worker's process and its starter, as a pool uses them
loky              starts reused workers, with loky
forkserver        starts workers of one call, by asking a template process to fork
template_process  starts and ends the template process
start_failures    when to retry a start, and when to fail a waiting call
"""
