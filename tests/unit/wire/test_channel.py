"""Frames between driver and worker, received in chunks of any size."""

from __future__ import annotations

import pickle
import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, strategies as st

from gigaexec.wire.channel import WorkerChannel
from gigaexec.wire.checks import ProtocolError
from gigaexec.wire.messages import (
    MAX_REPLY_BYTES,
    CallHeader,
    FrameDecoder,
    Ready,
    ReceivedCall,
    decode_message,
    encode_message,
    frame_prefix,
)

HEADER = CallHeader("def f(): ...", "f", ["/x"], {"A": None}, "/spill/1")


def framed(payload: bytes) -> bytes:
    return frame_prefix(len(payload)) + payload


@pytest.fixture
def ends() -> Iterator[tuple[WorkerChannel, socket.socket]]:
    """Yield a worker's channel and the driver's end of its socket."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(30)
        theirs.settimeout(30)
        yield WorkerChannel(theirs), ours


@given(st.lists(st.binary(max_size=60), max_size=12), st.data())
def test_frames_come_out_whole_however_the_stream_is_cut(payloads: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(framed, payloads))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    decoder = FrameDecoder(max_frame_bytes=60)
    assert [frame for piece in pieces for frame in decoder.feed(piece)] == payloads


def test_a_frame_comes_out_with_its_last_byte_and_not_before() -> None:
    decoder = FrameDecoder()
    stream = framed(b"abc")
    assert [decoder.feed(bytes([byte])) for byte in stream] == [[]] * (len(stream) - 1) + [[b"abc"]]


def test_a_frame_of_the_largest_size_passes() -> None:
    assert FrameDecoder(max_frame_bytes=10).feed(framed(b"x" * 10)) == [b"x" * 10]


@given(st.integers(min_value=61, max_value=2**64 - 1), st.binary(max_size=30))
def test_an_oversize_frame_is_refused_before_its_bytes_are_awaited(length: int, rest: bytes) -> None:
    decoder = FrameDecoder(max_frame_bytes=60)
    with pytest.raises(ProtocolError, match=f"a frame declares {length} bytes; the limit is 60"):
        decoder.feed(frame_prefix(length) + rest)


def test_text_on_the_channel_is_no_frame() -> None:
    with pytest.raises(ProtocolError, match=f"the limit is {MAX_REPLY_BYTES}"):
        FrameDecoder().feed(b"Hello, world!\n")


def test_a_call_is_received_with_arguments_larger_than_the_sockets_buffer(
    ends: tuple[WorkerChannel, socket.socket],
) -> None:
    channel, driver = ends
    arguments = bytes(range(256)) * 20_000
    stream = framed(pickle.dumps(HEADER)) + framed(arguments)
    sender = threading.Thread(target=driver.sendall, args=(stream,))
    sender.start()
    received = channel.receive()
    sender.join()
    assert received == ReceivedCall(HEADER, bytearray(arguments), [])


@pytest.mark.parametrize("sent_bytes", [0, 3, 8, 20, -4, -1])
def test_the_end_of_the_channel_ends_the_worker_wherever_it_falls(
    ends: tuple[WorkerChannel, socket.socket], sent_bytes: int
) -> None:
    channel, driver = ends
    driver.sendall((framed(pickle.dumps(HEADER)) + framed(b"arguments"))[:sent_bytes])
    driver.shutdown(socket.SHUT_WR)
    assert channel.receive() is None


def test_a_record_is_sent_as_one_frame(ends: tuple[WorkerChannel, socket.socket]) -> None:
    channel, driver = ends
    ready = Ready("", ("no PDEATHSIG",))
    channel.send(encode_message(ready))
    (frame,) = FrameDecoder().feed(driver.recv(65536))
    assert decode_message(frame) == ready
