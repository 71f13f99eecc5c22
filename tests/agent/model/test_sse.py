from __future__ import annotations

from codecs import BOM_UTF8
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcops.agent.model.sse import Decoder


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


EVENT = st.fixed_dictionaries({"type": st.sampled_from(["ping", "delta"])}, optional={"text": st.text()})
COMMENT = st.sampled_from([[], [b":"], [b": keep-alive"], [b"event: ping"], [b"id: 7", b"retry: 100"], [b""]])


@st.composite
def _framed(draw: st.DrawFn) -> tuple[list[dict[str, Any]], bytes]:
    """Events, and bytes that say them: any line ends, comments, names or none, data over several lines."""
    events = draw(st.lists(EVENT, min_size=1, max_size=5))
    lines: list[bytes] = []
    for event in events:
        spaced = orjson.dumps(event, option=draw(st.sampled_from([0, orjson.OPT_INDENT_2])))
        lines += [
            *draw(COMMENT),
            *(b"data:" + draw(st.sampled_from([b"", b" "])) + n for n in spaced.split(b"\n")),
        ]
        lines += [*draw(st.sampled_from([[], [b": in between"], [b"event: delta"]])), b""]
    ends = draw(st.sampled_from([[b"\n"], [b"\r\n"], [b"\r"], [b"\n", b"\r\n"]]))
    raw = b"".join(line + ends[n % len(ends)] for n, line in enumerate(lines))
    return events, draw(st.sampled_from([b"", BOM_UTF8])) + raw


@given(_framed(), st.data())
def test_any_framing_in_any_pieces_gives_the_same_events(
    framed: tuple[list[dict[str, Any]], bytes], data: st.DataObject
) -> None:
    events, raw = framed
    cuts = sorted(data.draw(st.sets(st.integers(0, len(raw)), max_size=20), label="cuts"))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert _all(*pieces) == events
    assert _all(*(raw[n : n + 1] for n in range(len(raw)))) == events


def test_an_event_ended_by_returns_alone_is_given_at_once() -> None:
    decoder = Decoder()
    assert list(decoder.feed(b'data: {"a":1}\r\r')) == [{"a": 1}]
    assert list(decoder.feed(b'\ndata: {"b":2}\r\n\r\n')) == [{"b": 2}]
