"""Everything that runs inside a worker process.

Imports only the standard library, cloudpickle, the records, `untrusted/`, `wire/` and `sandbox/`.

bootstrap        once a process: environment, signals, standard descriptors, death with the driver
child_processes  killing and reaping the descendants of this process
call             the steps of one call, for both kinds of worker
reused           a process that runs one call after another, and everything that restores it
forked           a process for every call, forked from a template
"""
