"""Measure processes, and kill processes with all their descendants.

process_tree  kills a process with all its descendants
kills         does kills in short parts, between the other work of the dispatcher
running_call  the facts about one call from its start to its end, including its samples
sampling      measures the resource use of a call's processes at one moment, from /proc
limit_watch   samples the calls that have limits
orphans       kills the processes that dead workers left running
guard         a process that kills the processes of programs if the driver itself is killed
"""
