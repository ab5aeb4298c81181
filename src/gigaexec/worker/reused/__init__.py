"""A process that runs one call after another, and everything that restores it in between.

loop           serves a channel: one call in, one `WorkerResult` out
scope          takes back what a call changed in the process
imports        unloads the modules of a call
interpreter    restores the interpreter's own parts
library_state  restores state of standard libraries
cleanup        threads and descriptors that a call left behind
"""
