"""A process for every call, forked from a template.

launcher        the process above the template, which starts from a clean `execve`
template        the process that all workers of a pool are forked from
inherited       the state that workers inherit from their template
warm_up         calls that the template runs before it forks
pid_namespaces  the first processes (PID 1) of PID namespaces, one for each call
child           a worker that runs one call and ends
supervisor      the process above a worker on machines without PID namespaces
"""
