"""All byte formats. The encoder and the decoder of a format are side by side.

messages       encodes the records that driver and worker exchange, as bytes in frames
checks         checks fields that an untrusted process sent
channel        the worker's end of the socket to the driver
control        messages between driver and template, such as fork requests
descriptors    owned file descriptors, and descriptors sent over sockets
buffers        keeps large buffers out of pickles, writes and maps the buffers
arguments_out  encodes args and kwargs as a pickle, with memfds for large and shared arguments
arguments_in   decodes args and kwargs from the pickle and the memfds
values_out     encodes a return value as bytes, inline or in a file
rebuilding     rebuilds a pickled value once in its worker
values_in      checks and decodes a return value from the bytes or the file
gil_pauses     releases the GIL while a large value is decoded
class_globals  finds what is pickled because of the classes and functions in a value
encoded        calls with encoded arguments, and outcomes with encoded values
data           the data format: values as bytes that are decoded without running code
remote         encodes calls and outcomes as versioned bytes, for other machines
"""
