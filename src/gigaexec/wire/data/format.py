"""The data format: what encoder and decoder share.

    [1.5, (True, "a"), {"x": b"raw"}]

    leaves      1.5  True "a"  "x"          one flat MessagePack array: None, bool, int, float, str
    raw bytes   raw                         the contents of bytes objects, concatenated
    ops         OPEN                        32 bits each, little-endian: a code, and a number above it
                  LEAVES 1                  -> 1.5
                  TUPLE 2                   -> a tuple of the next 2 leaves
                  OPEN
                    LEAVES 1  BYTES 3       -> "x", b"raw"
                  CLOSE DICT                -> a dict of the items since OPEN
                CLOSE LIST                  -> a list of the items since OPEN
    buffers                                 contents of arrays and large bytes, outside the head

The head is the MessagePack array [leaves, ops, raw bytes]. It is not nested deeper and holds no maps and no
extension types, so C code that recurses or hashes never sees what a program sends. All structure is in the
ops, which the decoder walks with its own stack and limits.

The items of a dict are its keys, then its values. The items of a record are its type name, then its field
names, then their values.
"""

from __future__ import annotations

# An op is `code | number << CODE_BITS`.
CODE_BITS = 6
CODE_MASK = (1 << CODE_BITS) - 1

# LEAVES n: the next n leaves. OPEN: start a list of items. CLOSE code: make a value of that code from the
# items since OPEN. BYTES n: the next n raw bytes. LARGE_BYTES n: buffer n.
LEAVES, OPEN, CLOSE, BYTES, LARGE_BYTES = range(5)
# Codes of values made from items: from those since OPEN, or from the next n leaves if the op is not CLOSE.
# A new type takes the next free number. Codes never change, because machines of other versions read them.
LIST, TUPLE, DICT, SET, FROZENSET, RECORD = range(5, 11)
BIG_INT, COMPLEX, SURROGATE_STR, BYTEARRAY = range(11, 15)
DATE, TIME, DATETIME, TIMEDELTA, TIMEZONE, ZONE_INFO, DECIMAL, UUID = range(15, 23)
ARRAY, NUMPY_SCALAR, NUMPY_STR, NUMPY_BYTES = range(23, 27)

# Types of values that the head holds as they are.
LEAF_TYPES = frozenset({type(None), bool, int, float, str})

# A dtype is described by leaves: "<f8" and the like, or one of these words and its parameters.
# STRUCTURE, itemsize, is aligned, number of fields, then for each field: name, offset, description.
# SUBARRAY, number of dimensions, dimensions, description.
STRUCTURE = "structure"
SUBARRAY = "subarray"

# Levels of nesting. repr(), ==, copy and pickle of the value recurse in the driver, whose default limit is
# 1000 frames; results nested deeper than this are rare.
DEFAULT_MAX_DEPTH = 200

# Leaves, and separately ops. A container takes at most 250 bytes of the driver's memory, a leaf 120 including
# its slot in a set, plus its text: 1.5 GB for the worst head. An array counts as one item.
DEFAULT_MAX_COUNT = 4_000_000
LARGEST_MAX_COUNT = (1 << 32 - CODE_BITS) - 1

# An array with a dimension of 0 takes no memory, but a loop over another, huge dimension would never end.
MAX_EMPTY_EXTENT_BYTES = 1 << 32

# Levels of nested structures and subarrays: more than real dtypes have, far below the recursion limit.
MAX_DTYPE_DEPTH = 16

# Longer contents become buffers. Up to this size a copy is cheaper than the bookkeeping of a buffer.
INLINE_CONTENT_BYTES = 16 * 1024


class UnfitValueError(Exception):
    """A value is not data. The encoder puts the value's place before the message, and advice after it."""


class BadDataError(Exception):
    """The bytes are not what the encoder makes. The decoder raises it as ValueNotReadableError."""
