"""Run calls in worker processes on this machine, one call at a time per worker.

pool            runs requests in workers, and returns their outcomes
dispatcher      the thread that owns a pool's queue, deadlines and workers
inbox           commands from any thread to the dispatcher's thread
job_queue       the jobs that wait for a worker
jobs            a call on its way through the pool, and its ending
workers         the workers of a pool, by state
worker_events   handles the events of workers: ready, answer, limit hit, death, timeout
staffing        starts missing workers, and handles failed starts
worker_handle   the driver's side of one worker
worker_clock    the times of a worker's states, and the timeout of each state
worker_channel  the driver's end of a worker's channel
output_pipes    the output of a worker's current call
handshake       the first message of a supervised worker
watches         the descriptors of a worker that the selector watches
worker_process  the interfaces of worker processes and of starters, and the disposal of ended processes
decoding_threads  threads that decode pickles within a limit of time
failure_log     logs failures in one line
live_pools      every pool of this process whose threads run
starters        start worker processes
supervision     measures processes, and kills processes with all their descendants
endings         turn a worker's answer or death into an outcome
files           the spill directory and scratch folders
"""
