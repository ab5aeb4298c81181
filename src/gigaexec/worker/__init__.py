"""The code that runs inside worker processes.

Every worker process pays for the import time of these modules. So they import only the standard library,
cloudpickle, `calls`, `limits`, `measured`, `untrusted/`, `wire/` and `sandbox/`. Records defined here are
NamedTuples, because creating the class of a frozen dataclass takes five times as long.

call             runs one call, in both kinds of worker
reused           a worker that runs one call after another, and restores its state after each call
forked           a worker that runs one call, forked from a template
bootstrap        prepares a fresh process to become a worker or a template
death            ends this process with its driver, or after a failure of the engine
child_processes  kills and reaps the descendants of this process

`reused` and `forked` import the other modules, but not each other.
"""
