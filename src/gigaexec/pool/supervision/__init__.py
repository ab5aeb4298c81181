"""Watching processes, and killing them with everything they started.

process_tree  killing a process with all its descendants
running_call  the facts about one call from its start to its end, samples included
sampling      the resource use of a call's processes at one moment, from /proc
limit_watch   samples the calls that have limits
orphans       killing what dead workers left running
guard         a process that kills what is left when the driver itself is killed
"""
