"""Gives calls to worker processes of this machine, one at a time each, and ends those that must end.

pool           one life of a local backend: a call in, its outcome out
request        a checked call with its encoded arguments
dispatcher     the thread that owns a pool: queue, deadlines, workers
inbox          commands from any thread to that one
jobs           a call on its way through the pool, and how it ended
job_queue      the calls that wait for a worker
worker_handle  the driver's side of one worker: channel, output pipes, death
outgoing_call  a call on its way into a worker's socket
output_pipes   the output of a worker's current call
live_pools     every pool of this process whose threads run
starters       starting worker processes
supervision    watching processes, and killing them with everything they started
endings        from an answer or a death to an outcome
files          the spill directory and scratch folders
"""
