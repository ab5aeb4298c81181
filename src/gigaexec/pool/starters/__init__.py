"""Start worker processes.

loky              starts reused workers, with loky
forkserver        starts workers that run one call each; a template process forks them
forked_process    the process of a worker that a template forked
template_process  starts and ends a template process
interpreter       the command line of a new interpreter
descriptors       the remedy for a limit of open files that is too low
start_failures    decides when to retry a start, and when to fail a waiting call
"""
