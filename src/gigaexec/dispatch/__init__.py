"""Gives calls to worker processes of this machine, one at a time each, and ends those that must end.

dispatcher        the thread that owns a pool: queue, deadlines, start and end of workers
inbox             commands from any thread to that one
live_pools        every pool of this process whose threads run
job_queue         the calls that wait for a worker
jobs              a call on its way, and how it ended
worker_handle     the driver's side of one worker: channel, output pipes, death
worker_process    what a pool needs to know of a worker's process, whoever starts it
outgoing_call     a call on its way into a worker's socket
output_pipes      what a worker writes for the current call
loky_worker       starts reused workers, with loky
forked_worker     starts workers of one call, by asking a template process to fork
template_process  starts and ends the process that those are forked from
start_failures    what to do when workers do not start
limit_watch       looks at the processes of calls that have limits
tree_sample       what they use at one moment, read from /proc
answers           what a worker sends for its call, and what of it can be believed
endings           what is known of a call when its worker has answered or died
call_metrics      what a call cost: the worker's account, corrected by the kernel's
outcomes          from how a call ended to the `Outcome` that the caller gets
process_tree      killing a process with all it started
orphans           ending what dead workers left running
guard             a process that kills what is left when the driver itself is killed
"""
