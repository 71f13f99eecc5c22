from __future__ import annotations

import pytest

from dcops.scripted_model.sse import frame, parse, split


def test_an_event_is_framed_as_the_api_does() -> None:
    assert (
        frame({"type": "ping", "text": "ü"}) == 'event: ping\ndata: {"type":"ping","text":"ü"}\n\n'.encode()
    )


@pytest.mark.parametrize(
    "wire", [b"", b"event: a\ndata: {}", b"data: {}\n\n", b"data: {}\n\n\n\nrest", b"\n\n\n"]
)
def test_a_split_stream_is_the_same_when_joined(wire: bytes) -> None:
    assert b"".join(split(wire)) == wire


def test_frames_are_parsed_and_what_is_no_event_is_left_out() -> None:
    frames = [
        b'event: a\ndata: {"type":\ndata: "a"}   \n\n',
        b": comment\n\n",
        b"data: [1]\n\n",
        b"data: {\n\n",
    ]
    assert parse(frames) == [{"type": "a"}]
