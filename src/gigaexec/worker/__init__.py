"""Everything that runs inside a worker process. Imports only the standard library and cloudpickle.

bootstrap   once a process: environment, signals, standard descriptors, death with the driver
main        one call in, one `WorkerResult` out; the loop that serves a channel
channel     length-prefixed frames on a socket, both sides
program     code string -> module -> function call
scope       what a call may change and gets back after it
imports     what a call imports, and what of it stays loaded
interpreter what of Python itself a call may break, brought back
habits      state of standard libraries that programs change, likewise
capture     file descriptors 1 and 2 of a call
report      an exception as text
value       a return value as bytes, inline or in a spill file
accounting  what a call cost
leftovers   processes and threads that a call left behind
"""
