"""Runs one call in a worker process, reused or forked.

run         the sequence of a call: load arguments, load program, call function, encode value
source      the text of a program, and its file
program     code string -> module
function    finds the function, and calls it
modules     restores the modules that the engine uses
scope       environment, folders and signals
imports     modules that a call imports
limits      resource limits that the kernel enforces
seed        seeds of the random generators
capture     standard streams, whose output is captured
accounting  time, memory and page faults of a call
report      an exception as text

No module of this package imports `reused` or `forked`.
"""
