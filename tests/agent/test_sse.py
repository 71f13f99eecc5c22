from __future__ import annotations

import orjson
import pytest

from dcops.agent.sse import Decoder


def _all(*chunks: bytes) -> list[dict[str, object]]:
    decoder = Decoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)] + list(decoder.end())


def test_names_comments_and_both_line_ends_are_taken() -> None:
    assert _all(b': hi\r\nevent: ping\r\ndata: {"type":"ping"}\r\n\r\n', b'data:{"a":1}\n\n') == [
        {"type": "ping"},
        {"a": 1},
    ]


def test_a_line_end_cut_in_two_is_one() -> None:
    assert _all(b'data: {"a":1}\r', b"\n\r", b'\ndata: {"b":2}\n\n') == [{"a": 1}, {"b": 2}]


def test_several_data_lines_are_one_event() -> None:
    assert _all(b'data: {"a":\ndata: 1}\n\n') == [{"a": 1}]


def test_an_event_is_given_as_soon_as_it_is_complete() -> None:
    decoder = Decoder()
    assert list(decoder.feed(b'data: {"a":1}\n')) == []
    assert list(decoder.feed(b"\n")) == [{"a": 1}]


def test_a_last_event_without_its_empty_line_counts_unless_it_is_cut() -> None:
    assert _all(b'data: {"a":1}') == [{"a": 1}]
    with pytest.raises(orjson.JSONDecodeError):
        _all(b'data: {"a":')
