"""The frame of a message: magic, version, a header in the data format, and content that stays encoded.

    offset 0   b"GXEC"
           4   version, 32 bits
           8   size of the header in bytes, 64 bits
          16   header: a dict in the data format, see wire/data/format.py
               zeros up to the next multiple of 64
               content: the encoded arguments or value

Numbers are little-endian. The content, and the arrays in the content, start at multiples of 64.
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
"""Default for the maximum size of a message that a receiver accepts."""

_MAGIC = b"GXEC"
_PREFIX = struct.Struct("<4sIQ")
_ALIGNMENT_BYTES = 64

# Limits of a header. Real headers have a few levels of dicts. Their largest parts are texts, the environment
# and two numbers for each buffer.
_MAX_DEPTH = 8
_MAX_COUNT = 1_000_000

_T = TypeVar("_T")

Message = bytes | bytearray | memoryview


class RemoteFormatError(ProtocolError):
    """The received bytes are not a valid message of a known version and kind, or exceed a limit."""


def encode_message(header: dict[str, Any], value: ValueBytes | None) -> list[Message]:
    """Return a message as parts. Send the parts one after the other, or join them with `b"".join(parts)`.

    Raises:
        ValueNotDataError: The header has more than a million entries.
    """
    head = encode_data(header, max_count=_MAX_COUNT).head
    start = _PREFIX.pack(_MAGIC, VERSION, len(head)) + head
    if value is None:
        return [start]
    return [start + bytes(-len(start) % _ALIGNMENT_BYTES), value.contents]


def decode_message(message: Message, max_bytes: int, read: Callable[[Fields, memoryview], _T]) -> _T:
    """Check the frame of a message, and return the result of `read`.

    Args:
        message: The whole message.
        max_bytes: Maximum size of the message.
        read: Function that gets the header's fields and the content. May raise any exception for invalid
            fields.

    Raises:
        RemoteFormatError: The message is not valid.
    """
    view = memoryview(message).cast("B")
    if view.nbytes > max_bytes:
        raise RemoteFormatError(f"the message has {view.nbytes} bytes; the limit is {max_bytes} bytes")
    start = bytes(view[: len(_MAGIC)])
    if start != _MAGIC:
        raise RemoteFormatError(f"not a gigaexec message: the first bytes must be GXEC, got {start!r}")
    if view.nbytes < _PREFIX.size:
        raise RemoteFormatError(
            f"the message is truncated: expected at least {_PREFIX.size} bytes, got {view.nbytes}"
        )
    _, version, header_bytes = _PREFIX.unpack_from(view)
    if version != VERSION:
        raise RemoteFormatError(f"the message has version {version}; this gigaexec reads version {VERSION}")
    end = _PREFIX.size + header_bytes
    if end > view.nbytes:
        raise RemoteFormatError(
            f"the message is truncated: its header ends at byte {end}, but only {view.nbytes} bytes arrived"
        )
    content_start = min(end + -end % _ALIGNMENT_BYTES, view.nbytes)
    try:
        header = decode_plain(view[_PREFIX.size : end], max_depth=_MAX_DEPTH, max_count=_MAX_COUNT)
        return read(Fields("", header), view[content_start:])
    except (BadDataError, ProtocolError) as error:
        raise RemoteFormatError(f"the message is not valid: {error}") from None
    except Exception as error:  # a malformed message that passed all checks
        raise RemoteFormatError(
            f"the message is not valid: {type(error).__name__}: {error!s:.300}"
        ) from error
