"""How a value travels as data: the vocabulary that the encoder and the decoder share.

    [1.5, (True, "a"), {"x": b"raw"}]

    leaves      1.5  True "a"  "x"          one flat MessagePack array: None, bool, int, float, str
    raw bytes   raw                         bytes, one after the other
    ops         OPEN                        32 bit each: a code, and a number above it
                  LEAVES 1                  -> 1.5
                  TUPLE 2                   -> a tuple of the next 2 leaves
                  OPEN
                    LEAVES 1  BYTES 3       -> "x", b"raw"
                  CLOSE DICT                -> a dict of what was made since OPEN
                CLOSE LIST                  -> a list of what was made since OPEN
    buffers                                 contents of arrays and large bytes, outside of the head

The head is the MessagePack array [leaves, ops, raw bytes]. Nothing in it is nested deeper, and it has no
maps and no extension types: C code that recurses or hashes never sees what a program sends. All structure
is in the ops, which the decoder walks with a stack and limits of its own.

The items of a dict are its keys, then its values; of a record its type name, then its field names, then
their values. Byte order is the machine's: both ends run on it.
"""

from __future__ import annotations

# An op is `code | number << CODE_BITS`.
CODE_BITS = 6
CODE_MASK = (1 << CODE_BITS) - 1

# LEAVES n: the next n leaves. OPEN: what follows belongs together. CLOSE code: make that of it.
# BYTES n: the next n raw bytes. LARGE_BYTES n: buffer n.
LEAVES, OPEN, CLOSE, BYTES, LARGE_BYTES = range(5)
# What is made from items: those since OPEN, or the next n leaves where the op stands alone.
LIST, TUPLE, DICT, SET, FROZENSET, RECORD = range(5, 11)
BIG_INT, COMPLEX, SURROGATE_STR, BYTEARRAY = range(11, 15)
DATE, TIME, DATETIME, TIMEDELTA, TIMEZONE, ZONE_INFO, DECIMAL, UUID = range(15, 23)
ARRAY, NUMPY_SCALAR, NUMPY_STR, NUMPY_BYTES = range(23, 27)

# A dtype is described by leaves: "<f8" and the like, or one of these words and what it needs.
# STRUCTURE, itemsize, is aligned, number of fields, then of each: name, offset, description.
# SUBARRAY, number of dimensions, dimensions, description.
STRUCTURE = "structure"
SUBARRAY = "subarray"

# Levels of nesting. repr(), ==, copying and pickling of the value recurse later, in the driver, whose limit
# is 1000 frames by default; deeper trees are rare in results.
DEFAULT_MAX_DEPTH = 200

# Leaves, and likewise ops. A container takes at most 250 bytes of the driver's memory, a leaf 120 with its
# place in a set, beside its text: 1.5 GB for the worst of heads. Larger results are arrays, each one item.
DEFAULT_MAX_COUNT = 4_000_000
LARGEST_MAX_COUNT = (1 << 32 - CODE_BITS) - 1

# Zero times anything is no memory, but a loop over the other dimension of an empty array would never end.
MAX_EMPTY_EXTENT_BYTES = 1 << 32

# Structures in structures: more than anyone writes, and far from the limit of recursion.
MAX_DTYPE_DEPTH = 16

# Longer contents are buffers: up to here the copies are cheaper than a buffer with its bookkeeping.
INLINE_CONTENT_BYTES = 16 * 1024
