"""Workers that run one call each, forked from a template.

launcher        the process above the template, which starts from a clean `execve`
template        the process from which all workers of a pool are forked
inherited       the state that workers inherit from their template
warm_up         calls that the template runs before it forks
pid_namespaces  makes a PID namespace for each call, with an init (PID 1)
child           a worker that runs one call and ends
supervisor      the process above a worker on machines without PID namespaces
"""
