"""Starting worker processes.

loky              starts reused workers, with loky
forkserver        starts workers of one call, by asking a template process to fork
forked_process    the process of such a worker
template_process  starts and ends the template process
start_failures    when to retry a start, and when to fail a waiting call
"""
