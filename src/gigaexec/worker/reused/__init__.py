"""A worker that runs one call after another, and restores its state after each call.

start          turns a fresh interpreter into a worker
loop           serves a channel: one call in, one `WorkerResult` out
scope          restores what a call changed: streams, environment, imports, signals, limits
interpreter    restores parts of the interpreter, such as `sys` and builtins
library_modules restores library modules that a program changed
library_state  restores state of standard libraries, and attributes of the process
"""
