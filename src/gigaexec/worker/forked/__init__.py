"""A process for every call, forked from a template.

template        the process that all workers of a pool are forked from
pid_namespaces  the first processes of PID namespaces, one for each call
child           a worker that runs one call and ends
imports         the imports of such a call
supervisor      the process above a worker where there are no PID namespaces
"""
