"""The frame of a message: magic and version, a header of plain data, and content that stays encoded.

    offset 0   b"GXEC"
           4   version, 32 bits
           8   size of the header in bytes, 64 bits
          16   header: a dict as data, see wire/data/format.py
               zeros up to the next multiple of 64
               content: the encoded arguments or value

Numbers are little-endian. The content is aligned, and so are the arrays in it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, TypeVar

from gigaexec.wire.checks import ProtocolError
from gigaexec.wire.data.decoder import decode_plain
from gigaexec.wire.data.encoder import encode_data
from gigaexec.wire.data.format import BadDataError
from gigaexec.wire.remote.fields import Fields
from gigaexec.wire.values_in import ValueBytes

VERSION = 1

DEFAULT_MAX_BYTES = 1 << 30
"""Larger messages are refused unless the receiver allows more."""

_MAGIC = b"GXEC"
_PREFIX = struct.Struct("<4sIQ")
_ALIGNMENT_BYTES = 64

# A header is a few dicts deep. Its largest parts are texts, the environment, and two numbers for each buffer.
_MAX_DEPTH = 8
_MAX_COUNT = 1_000_000

_T = TypeVar("_T")

Message = bytes | bytearray | memoryview


class RemoteFormatError(ProtocolError):
    """The bytes are not a message of a known version and kind, or exceed a limit; the message says why."""


def encode_message(header: dict[str, Any], value: ValueBytes | None) -> list[Message]:
    """Return a message in parts, to be sent one after the other. `b"".join(parts)` is the message.

    Raises:
        ValueNotDataError: The header has more than a million entries.
    """
    head = encode_data(header, max_count=_MAX_COUNT).head
    start = _PREFIX.pack(_MAGIC, VERSION, len(head)) + head
    if value is None:
        return [start]
    return [start + bytes(-len(start) % _ALIGNMENT_BYTES), value.contents]


def decode_message(message: Message, max_bytes: int, read: Callable[[Fields, memoryview], _T]) -> _T:
    """Check the frame of a message and read its fields.

    Args:
        message: The whole message.
        max_bytes: Largest size to accept.
        read: Gets the header's fields and the content; raises anything for fields that are not valid.

    Raises:
        RemoteFormatError: The message is not valid.
    """
    view = memoryview(message).cast("B")
    if view.nbytes > max_bytes:
        raise RemoteFormatError(f"the message has {view.nbytes} bytes; the limit is {max_bytes}")
    if view.nbytes < _PREFIX.size or view[: len(_MAGIC)] != _MAGIC:
        raise RemoteFormatError("not a gigaexec message: the first bytes must be GXEC")
    _, version, header_bytes = _PREFIX.unpack_from(view)
    if version != VERSION:
        raise RemoteFormatError(f"the message has version {version}; this gigaexec reads version {VERSION}")
    end = _PREFIX.size + header_bytes
    if end > view.nbytes:
        raise RemoteFormatError(f"the message is truncated: its header ends at {end} of {view.nbytes} bytes")
    content_start = min(end + -end % _ALIGNMENT_BYTES, view.nbytes)
    try:
        header = decode_plain(view[_PREFIX.size : end], max_depth=_MAX_DEPTH, max_count=_MAX_COUNT)
        return read(Fields("", header), view[content_start:])
    except (BadDataError, ProtocolError) as error:
        raise RemoteFormatError(f"the message is not valid: {error}") from None
    except Exception as error:  # malformed, but passed all checks
        raise RemoteFormatError(
            f"the message is not valid: {type(error).__name__}: {error!s:.300}"
        ) from error
