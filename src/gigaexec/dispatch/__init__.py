"""Gives calls to worker processes of this machine, one at a time each, and ends those that must end.

dispatcher      the thread that owns a pool: queue, deadlines, start and end of workers
worker_handle   the driver's side of one worker: channel, output pipes, death
job_queue       the calls that wait for a worker
jobs            a call on its way, and how it ended
process_tree    killing a process with all it started
orphans         ending what dead workers left running
guard           a process that kills what is left when the driver itself is killed
"""
