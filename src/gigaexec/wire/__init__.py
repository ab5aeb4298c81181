"""Every byte format, both ends side by side.

frames         length-prefixed frames on a stream socket
messages       the records that driver and worker exchange, and their bytes
channel        the worker's end of its socket
control        the template's protocol: settings, fork requests, refusals, exit reports
descriptors    open files: closed once, sent over sockets
buffers        maps of files that keep no descriptor
arguments_out  args and kwargs -> a pickle, and memory files for what is large or shared
arguments_in   the pickle and the files -> args and kwargs
values_out     a return value -> bytes, inline or in a file
values_in      the bytes or the file -> a value, checked
data           the plain-data codec
"""
