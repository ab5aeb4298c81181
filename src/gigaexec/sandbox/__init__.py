"""Confines a forked process before it runs untrusted code. Linux only.

policy        the sandbox policy
system_calls  system calls that Python does not offer
call_numbers  their numbers
shortages     their errors that are transient
namespaces    namespaces of users, processes, mounts, network and System V IPC
id_maps       mapping all ids into a new user namespace
capabilities  dropping all capabilities
landlock      rules on files, TCP, signals and abstract sockets
file_rules    the files that confined programs may use
seccomp       a filter of system calls
denied_calls  the system calls that the filter denies, with reasons
steps         the names of the steps, and a record of those that were tried
isolation     takes the steps for a template, its calls and their programs

The order of the steps matters: mounting needs capabilities and is refused under Landlock; Landlock and
seccomp need only NO_NEW_PRIVILEGES. Objects that are expensive to build and the same for all calls
(`LandlockRuleset`, `SeccompFilter`) are built once in the template, and fork copies them.
"""
