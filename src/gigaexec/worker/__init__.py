"""Everything that runs inside a worker process.

Every process pays for the import time. So these modules import only the standard library, cloudpickle, the
records, `untrusted/`, `wire/` and `sandbox/`, and their records are NamedTuples: creating the class of a
frozen dataclass takes five times as long.

call             the steps of one call, for both kinds of worker
reused           a process that runs one call after another, and everything that restores it
forked           a process for every call, forked from a template
bootstrap        steps that turn a fresh process into a worker or a template
death            death with the driver, and after a failure of the engine
child_processes  killing and reaping the descendants of this process

`reused` and `forked` import all the others, and not each other.
"""
