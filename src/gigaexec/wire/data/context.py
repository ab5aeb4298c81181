"""Services of an encoding and of a decoding that the types of values use."""

from __future__ import annotations

from typing import Protocol

from gigaexec.wire.data.hashing import HashingBudget


class EncodingContext(Protocol):
    """The encoding of which a value is a part."""

    def check_room(self, size_bytes: int) -> None:
        """Raise ValueNotDataError if a buffer of this size would exceed `max_bytes`, before it is copied."""

    def content(self, view: memoryview) -> bytes | int:
        """Return the item that stands for this content: the bytes, or the number of a new buffer."""


class DecodingContext(Protocol):
    """The decoding of which a value is a part."""

    hashing: HashingBudget

    def content(self, item: object) -> memoryview:
        """Return the content that an item stands for: a writable copy of bytes, or a buffer.

        Raises:
            BadDataError: The item is neither, or its buffer is used already.
        """
