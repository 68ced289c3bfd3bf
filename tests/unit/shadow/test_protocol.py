import contextlib
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadow.errors import FrameError
from shadow.protocol import (
    HEADER_BYTES,
    LARGEST_BYTES,
    MAGIC,
    Compare,
    frame,
    framed,
    payload_length,
    read_frame,
)

PAYLOADS = st.lists(st.binary(max_size=300), max_size=10)


@given(PAYLOADS)
def test_framed_payloads_are_read_back_one_by_one(payloads: Any) -> None:
    pipe = io.BytesIO(b"".join(map(frame, payloads)))
    assert [read_frame(pipe.read) for _ in payloads] == payloads
    assert read_frame(pipe.read) is None


@given(st.binary(max_size=100), st.data())
def test_a_truncated_frame_raises_a_frame_error(payload: Any, data: Any) -> None:
    whole = frame(payload)
    cut = data.draw(st.integers(1, len(whole) - 1))
    with pytest.raises(FrameError, match="cut off after"):
        read_frame(io.BytesIO(whole[:cut]).read)


@given(st.binary(min_size=HEADER_BYTES).filter(lambda noise: not noise.startswith(MAGIC)))
def test_bytes_without_the_magic_number_raise_a_frame_error(noise: Any) -> None:
    with pytest.raises(FrameError, match="something else was printed to the pipe"):
        read_frame(io.BytesIO(noise).read)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_give_a_payload_an_end_or_a_frame_error(noise: Any) -> None:
    pipe = io.BytesIO(noise)
    with contextlib.suppress(FrameError):
        assert isinstance(read_frame(pipe.read), bytes | None)


def test_a_frame_above_the_size_limit_is_neither_read_nor_written() -> None:
    with pytest.raises(FrameError, match=f"the limit is {LARGEST_BYTES}"):
        payload_length(MAGIC + b"\xff\xff\xff\xff")
    with pytest.raises(FrameError, match=f"the limit is {LARGEST_BYTES}"):
        frame(bytes(LARGEST_BYTES + 1))
    with pytest.raises(FrameError, match=f"the limit is {LARGEST_BYTES}"):
        framed(Compare("a", 1, bytes(LARGEST_BYTES), ()))
