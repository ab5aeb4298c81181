"""Run calls in worker processes of this machine, one at a time in each, and end workers when they must end.

pool            one life of a local backend: a request in, its outcome out
dispatcher      the thread that owns a pool: queue, deadlines, events
inbox           commands from any thread to the dispatcher's
job_queue       the calls that wait for a worker
jobs            a call on its way through the pool, and its ending
workers         the workers of a pool, by state
worker_events   the consequences of what workers do
staffing        starting workers, and what follows from failed starts
worker_handle   the driver's side of one worker
worker_clock    the times of a worker's states
worker_channel  the driver's end of a worker's channel
output_pipes    the output of a worker's current call
handshake       the first message of a supervised worker
watches         the descriptors of a worker that the selector watches
worker_process  a worker's process, its starter, and the disposal of ended processes
live_pools      every pool of this process whose threads run
starters        starting worker processes
supervision     watching processes, and killing them with everything they started
endings         from an answer or a death to an outcome
files           the spill directory and scratch folders
"""
