"""Everything that runs inside a worker process.

Imports only the standard library, cloudpickle and the records; where results are data, msgspec as well.

A process that runs one call after another:

bootstrap        once a process: environment, signals, standard descriptors, death with the driver
main             one call in, one `WorkerResult` out; the loop that serves a channel
scope            what a call may change and gets back after it
interpreter      what of Python itself a call may break, brought back
habits           state of standard libraries that programs change, likewise
leftovers        processes and threads that a call left behind

A process for every call:

template         the process that all are forked from
namespace_inits  first processes of PID namespaces, one for each call
keeper           the process above a worker where there are no PID namespaces
one_call         a worker that runs one call and ends
sandbox          isolates the processes of a call, and confines its program
confine          the steps of that: namespaces, capabilities, Landlock, seccomp
worker_report    what the kernel says of a worker that has ended

Both:

channel          length-prefixed frames on a socket, both sides
messages         the records on it as bytes
arguments        a call's arguments, from a pickle and files that it refers to
private_map      maps of files that keep no descriptor
program          code string -> module -> function call
imports          what a call imports, and what of it stays loaded
limits           resource limits that the kernel enforces
seeding          random generators of a call
capture          file descriptors 1 and 2 of a call
report           an exception as text
accounting       what a call cost
value            a return value as bytes, inline or in a file
data_format      how a value travels as data
data_encoder     a value as data
data_arrays      numpy's arrays and scalars as data
data_records     what an instance of a program's class holds
"""
