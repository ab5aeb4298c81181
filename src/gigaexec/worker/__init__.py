"""Everything that runs inside a worker process.

Imports only the standard library, cloudpickle, the records, `untrusted/`, `wire/` and `sandbox/`.

call             the steps of one call, for both kinds of worker
reused           a process that runs one call after another, and everything that restores it
forked           a process for every call, forked from a template
bootstrap        steps that turn a fresh process into a worker or a template
death            death with the driver, and after a failure of the engine
child_processes  killing and reaping the descendants of this process

`reused` and `forked` import all the others, and not each other.
"""
