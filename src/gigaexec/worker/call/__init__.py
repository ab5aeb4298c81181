"""The steps of one call in a worker process of either kind.

run         the sequence: arguments, program, function call, value to bytes
program     code string -> module -> function
scope       environment, folders and signals
imports     modules that a call imports
limits      resource limits that the kernel enforces
seed        random generators
capture     standard streams
accounting  time, memory and page faults of a call
report      an exception as text

Nothing here imports `reused` or `forked`.
"""
