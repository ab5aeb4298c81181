"""A process that runs one call after another, and everything that restores it in between.

start          turns a fresh interpreter into a worker
loop           serves a channel: one call in, one `WorkerResult` out
scope          restores what a call changed: streams, environment, imports, signals, limits
interpreter    restores the interpreter's own parts
library_state  restores state of standard libraries
"""
