"""The data format: encode values as bytes, and decode the bytes without running code from them.

format          op codes, limits and errors, shared by encoder and decoder
encoder         turns a value into leaves, ops, raw bytes and buffers
decoder         turns leaves, ops, raw bytes and buffers from a hostile process into a value
repeats         finds objects that occur twice in a value
simple_types    types with a small, fixed number of items (dates, Decimal, UUID, ...): encoding and decoding
containers_out  splits dicts, sets and records into items
containers_in   builds dicts, sets and records from items
hashing         the time limit on inserting keys into sets and dicts
context         interfaces of the encoder and the decoder for the modules of single types
arrays_out      splits numpy arrays and scalars into items
arrays_in       builds numpy arrays and scalars from items, and checks the items
instances       reads the fields of an instance of a program's class
record          `DataRecord`, which the driver gets for an instance of a program's class

To add a type, see docs/how-to/add-a-value-type.md.
"""
