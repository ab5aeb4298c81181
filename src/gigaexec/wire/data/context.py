"""Interfaces of the encoder and the decoder for the functions that encode and decode single types."""

from __future__ import annotations

from typing import Protocol

from gigaexec.wire.data.hashing import HashingBudget


class EncodingContext(Protocol):
    """The encoding of a whole value, seen by a function that encodes a part of the value."""

    def check_room(self, size_bytes: int) -> None:
        """Check the size limit for one more buffer of `size_bytes`. Call before copying the content.

        Raises:
            ValueNotDataError: The encoded value would exceed the `max_bytes` of `encode_data`.
        """

    def content(self, view: memoryview) -> bytes | int:
        """Return the item for this content: the bytes if they are short, else the number of a new buffer."""


class DecodingContext(Protocol):
    """The decoding of a whole value, seen by a function that decodes a part of the value."""

    hashing: HashingBudget

    def content(self, item: object) -> memoryview:
        """Return the content of an item: a writable copy if the item is bytes, a buffer if it is a number.

        Raises:
            BadDataError: The item is neither bytes nor an int, or the buffer is missing or already used.
        """
