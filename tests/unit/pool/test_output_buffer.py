"""R6: head and tail of an output stream, compared with a model that retains everything."""

from __future__ import annotations

from hypothesis import given, strategies as st

from gigaexec.pool.output_pipes import HeadTailBuffer

CHUNKS = st.lists(st.binary(max_size=40), max_size=30)


def model(data: bytes, limit_bytes: int) -> str:
    head_limit = limit_bytes // 8
    if len(data) <= limit_bytes:
        return data.decode("utf-8", "replace")
    head, tail = data[:head_limit], data[-(limit_bytes - head_limit) :]
    left_out = len(data) - len(head) - len(tail)
    return (
        f"{head.decode('utf-8', 'replace')}\n... [{left_out} bytes left out] ...\n"
        f"{tail.decode('utf-8', 'replace')}"
    )


@given(CHUNKS, st.integers(min_value=1, max_value=200))
def test_r6_keeps_head_and_tail_and_says_how_much_is_missing(chunks: list[bytes], limit_bytes: int) -> None:
    buffer = HeadTailBuffer(limit_bytes)
    written = b""
    for chunk in chunks:
        buffer.write(chunk)
        written += chunk
        assert buffer.total_bytes == len(written)
        assert buffer.text() == model(written, limit_bytes)


@given(CHUNKS, CHUNKS, st.integers(min_value=1, max_value=200))
def test_r6_a_cleared_buffer_behaves_like_a_new_one(
    before: list[bytes], after: list[bytes], limit_bytes: int
) -> None:
    buffer = HeadTailBuffer(limit_bytes)
    for chunk in before:
        buffer.write(chunk)
    buffer.clear()
    assert (buffer.total_bytes, buffer.text()) == (0, "")
    for chunk in after:
        buffer.write(chunk)
    assert buffer.text() == model(b"".join(after), limit_bytes)


def test_r6_the_buffer_stays_small_in_a_flood() -> None:
    buffer = HeadTailBuffer(1000)
    for _ in range(10_000):
        buffer.write(b"x" * 100)
    held = len(buffer._head) + sum(map(len, buffer._tail))
    assert held <= 1000 + 100, "expected at most the limit plus one chunk"
    assert buffer.total_bytes == 1_000_000
