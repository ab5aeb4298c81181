"""What a freshly forked process does to itself before it runs code that is not trusted. Linux only.

system_calls  the system calls that Python does not offer
namespaces    users, processes, mounts, network, System V IPC
capabilities  none, and none ever again
landlock      which files may be used, which TCP ports, which processes outside may be reached
seccomp       which system calls there are
denied_calls  which ones there are not, and why
steps         the names of the steps
isolation     takes the steps for a template, its calls and their programs
policy        what a confined program may see and do

The order is that of the list. Mounting needs the capabilities and is refused under Landlock; Landlock and
seccomp need only NO_NEW_PRIVILEGES. What costs time and does not depend on the child (`Landlock`, `Filter`)
is built once in the parent: fork then copies it.
"""
