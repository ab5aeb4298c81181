"""Every byte format, with both ends side by side.

messages       the records that driver and worker exchange, their bytes and frames
checks         checks of fields that an untrusted process sent
channel        the worker's end of its socket
control        the template's protocol: settings, fork requests, refusals, exit reports
descriptors    open files: closed once, sent over sockets
buffers        large buffers: kept out of pickles, written aligned, mapped without keeping a descriptor
arguments_out  args and kwargs -> a pickle, and memory files for large and shared arguments
arguments_in   the pickle and the files -> args and kwargs
values_out     a return value -> bytes, inline or in a file
values_in      the bytes or the file -> a value, checked
encoded        calls and outcomes whose values are still encoded
data           the plain-data codec
remote         calls and outcomes as versioned bytes, for other machines
"""
