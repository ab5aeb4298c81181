"""The data format: its op codes, limits and errors, shared by encoder and decoder.

    [1.5, (True, "a"), {"x": b"raw"}]

    leaves      1.5  True "a"  "x"          one flat MessagePack array: None, bool, int, float, str
    raw bytes   raw                         the contents of bytes objects, concatenated
    ops         OPEN                        32 bits each, little-endian: code | number << 6
                  LEAVES 1                  -> 1.5
                  TUPLE 2                   -> a tuple of the next 2 leaves
                  OPEN
                    LEAVES 1  BYTES 3       -> "x", b"raw"
                  CLOSE DICT                -> a dict of the items since OPEN
                CLOSE LIST                  -> a list of the items since OPEN
    buffers                                 contents of arrays and large bytes, outside the head

A large value has further leaves in buffers, its pages, and one op for each page before all other ops. So no
call of msgspec holds the GIL of the driver for more than about a millisecond.

The head is the MessagePack array [leaves, ops, raw bytes]. `leaves` is the only array in it, and it contains
no maps or extension types. So msgspec's C code never recurses into untrusted structure, and never hashes
untrusted keys.
All structure is in the ops, which the decoder walks with its own stack and limits.

The items of a dict are all keys, then all values. The items of a record are the type name, then all field
names, then all field values.
"""

from __future__ import annotations

# An op is `code | number << CODE_BITS`.
CODE_BITS = 6
CODE_MASK = (1 << CODE_BITS) - 1

# LEAVES n: the next n leaves. OPEN: start a list of items. CLOSE code: make a value of the type with this
# code from the items since OPEN. BYTES n: a bytes object of the next n raw bytes. LARGE_BYTES n: a bytes
# object with the content of buffer n.
LEAVES, OPEN, CLOSE, BYTES, LARGE_BYTES = range(5)
# Codes of the types. CLOSE code makes the value from the items since OPEN. An op with one of these codes and
# a number n makes the value from the next n leaves. A new type takes the next free code. Codes never change,
# because machines with other versions of gigaexec read them.
LIST, TUPLE, DICT, SET, FROZENSET, RECORD = range(5, 11)
BIG_INT, COMPLEX, SURROGATE_STR, BYTEARRAY = range(11, 15)
DATE, TIME, DATETIME, TIMEDELTA, TIMEZONE, ZONE_INFO, DECIMAL, UUID = range(15, 23)
ARRAY, NUMPY_SCALAR, NUMPY_STR, NUMPY_BYTES = range(23, 27)
# PAGE n: more leaves, as a flat MessagePack array in buffer n. Only at the start of the ops.
PAGE = 27

# The ops of a value that is a single leaf.
SINGLE_LEAF_OPS = (LEAVES | 1 << CODE_BITS).to_bytes(4, "little")

# Types whose values are leaves.
LEAF_TYPES = frozenset({type(None), bool, int, float, str})

# A list of leaves describes a dtype:
# - simple: numpy's dtype.str, such as "<f8";
# - structure: STRUCTURE, itemsize, is aligned, number of fields, then name, offset and dtype of each field;
# - subarray: SUBARRAY, number of dimensions, dimensions, dtype of the items.
STRUCTURE = "structure"
SUBARRAY = "subarray"

# Maximum levels of nesting. Results with more levels are rare. In the driver, repr(), ==, copy and pickle
# recurse into the value, and Python's default recursion limit is 1000 frames.
DEFAULT_MAX_DEPTH = 200

# Maximum number of leaves, and also of ops. In the driver, a container takes at most 250 bytes of memory, and
# a leaf 120 bytes (with its slot in a set) plus its text. So 4 million of each take at most 1.5 GB plus the
# texts. The elements of arrays are not counted.
DEFAULT_MAX_COUNT = 4_000_000
LARGEST_MAX_COUNT = (1 << 32 - CODE_BITS) - 1

# Limit on an empty array: its item size times its nonzero dimensions. An array with a dimension of 0 takes no
# memory, but a loop over one of its other dimensions would never end if that dimension were huge.
MAX_EMPTY_EXTENT_BYTES = 1 << 32

# Maximum levels of structures and subarrays: more than real dtypes have, far below the recursion limit.
MAX_DTYPE_DEPTH = 16

# Leaves in the head, and in each page.
PAGE_LEAVES = 16 * 1024

# Contents of more bytes become buffers. For smaller contents, a copy is cheaper than a buffer.
INLINE_CONTENT_BYTES = 16 * 1024


class UnfitValueError(Exception):
    """The data format cannot encode a value.

    The encoder puts the place of the value before the message, and advice after the message.
    """


class BadDataError(Exception):
    """The bytes are not valid in the data format. `decode_data` turns this into ValueNotReadableError."""
