"""The plain-data codec: values as bytes, and back without running any code.

format          op codes, limits and errors that both ends share
encoder         the walk over a value; the leaves, ops, raw bytes and buffers that it produces
decoder         the walk over ops that a hostile process may have made
simple_types    types made of a fixed few items (dates, Decimal, UUID, ...): both ends of each
containers_out  dicts, sets and records -> items
containers_in   items -> dicts, sets and records
hashing         the time limit on inserting keys into sets and dicts
context         services of an encoding and of a decoding that the types use
arrays_out      numpy arrays and scalars -> items
arrays_in       items -> numpy arrays and scalars, checked
instances       the fields of an instance of a program's class
record          `DataRecord`, which stands for such an instance in the driver

To add a type, see docs/how-to/add-a-value-type.md.
"""
