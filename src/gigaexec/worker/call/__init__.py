"""The steps of one call in a worker process of either kind.

run         the sequence: arguments, program, function call, value to bytes
program     code string -> module -> function
scope       the environment, folders and signals of a call
imports     the modules that a call imports
limits      resource limits that the kernel enforces
seed        random generators of a call
capture     file descriptors 0, 1 and 2 of a call
accounting  the cost of a call
report      an exception as text
"""
