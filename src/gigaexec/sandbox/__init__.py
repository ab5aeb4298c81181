"""Confines a forked process before it runs untrusted code. Linux only.

policy        the sandbox policy
system_calls  system calls that Python does not offer
call_numbers  numbers of the system calls that the sandbox makes or denies
shortages     errnos of transient shortages
namespaces    namespaces of users, processes, mounts, network and System V IPC
id_maps       mapping all ids into a new user namespace
capabilities  dropping all capabilities
landlock      rules on files, TCP, signals and abstract sockets
file_rules    the files that confined programs may use
seccomp       a filter of system calls
denied_calls  the system calls that the filter denies, with reasons
steps         the names of the sandbox steps, and the record of the steps that were tried
isolation     applies the steps to a template, to each call and to the call's program

The order of the steps matters. Mounts come first: they need capabilities, and Landlock refuses them. Landlock
and seccomp come last: they need only NO_NEW_PRIVILEGES. A `LandlockRuleset` and a `SeccompFilter` are
expensive to build and the same for all calls. The template builds them once, and fork copies them.
"""
