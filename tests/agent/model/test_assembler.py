"""What arrives is what was said, however it is cut into pieces, and damage is noticed."""

from __future__ import annotations

import asyncio
import json
import os
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcops.agent.events import Fault
from dcops.agent.model.assembler import Assembler, Ended, Piece, Started, Stopped
from dcops.agent.model.sse import Decoder

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = os.environ.get("DCOPS_STREAMS_DIR")
STREAMS = sorted(Path(FOLDER).glob("*.sse")) if FOLDER else []
recorded = pytest.mark.skipif(not STREAMS, reason="DCOPS_STREAMS_DIR names no folder of recorded streams")
each_stream = pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)


def _decode(chunks: list[bytes]) -> list[dict[str, Any]]:
    decoder = Decoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)] + list(decoder.end())


@cache
def _replies(path: Path) -> list[list[dict[str, Any]]]:
    """The replies of a file; some hold several, one after the other."""
    replies: list[list[dict[str, Any]]] = []
    for event in _decode([path.read_bytes()]):
        if event["type"] == "message_start":
            replies.append([])
        replies[-1].append(event)
    return replies


def _assemble(events: list[dict[str, Any]]) -> dict[str, Any]:
    assembler = Assembler()
    for event in events:
        assembler.feed(event)
    assert assembler.done
    assert not assembler.open
    return {**assembler.message, "content": list(assembler.blocks.values())}


def _bodies(path: Path) -> list[bytes]:
    """The bytes of each reply of a file."""
    found = re.split(rb"(?<=\n)(?=event: *message_start\b)", path.read_bytes())
    return [body for body in found if b"message_start" in body]


def _sdk(body: bytes) -> dict[str, Any]:
    """The message as the SDK's own helper accumulates it."""
    import anthropic
    import httpx2

    async def read() -> dict[str, Any]:
        answer = httpx2.MockTransport(
            lambda _: httpx2.Response(200, content=body, headers={"content-type": "text/event-stream"})
        )
        client = anthropic.AsyncAnthropic(api_key="k", http_client=httpx2.AsyncClient(transport=answer))
        asked: Any = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
        async with client.beta.messages.stream(**asked) as stream:
            return (await stream.get_final_message()).to_dict(mode="json")

    return asyncio.run(read())


def _bare(value: Any) -> Any:
    """Without what is None, and what only the SDK adds."""
    if isinstance(value, dict):
        return {k: _bare(v) for k, v in value.items() if v is not None and k != "parsed_output"}
    return [_bare(item) for item in value] if isinstance(value, list) else value


@recorded
@each_stream
def test_a_recorded_reply_is_assembled_as_the_sdk_does(path: Path) -> None:
    replies, bodies = _replies(path), _bodies(path)
    assert len(replies) == len(bodies)
    for reply, body in zip(replies, bodies, strict=True):
        assert _bare(_assemble(reply)) == _bare(_sdk(body))


@recorded
@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_chunking_gives_the_same(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(STREAMS), label="stream")
    raw = path.read_bytes()
    cuts = sorted(data.draw(st.sets(st.integers(1, len(raw) - 1), max_size=40), label="cuts"))
    chunks = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert _decode(chunks) == [event for reply in _replies(path) for event in reply]


def test_a_reply_is_told_in_order(say: Any) -> None:
    assembler = Assembler()
    events = say.reply(say.thinking("hm"), say.text("a b"), say.call("c", "bash", x=1), stop="tool_use")
    actions = [action for event in events for action in assembler.feed(event)]
    kinds = [(type(action), getattr(action, "index", None)) for action in actions]
    assert kinds[:3] == [(Started, 0), (Piece, 0), (Ended, 0)]
    assert [a.text for a in actions if isinstance(a, Piece) and a.kind == "text"] == ["a ", "b"]
    assert actions[-2] == Ended(2, {**say.call("c", "bash", x=1)})
    assert actions[-1] == Stopped("tool_use", {"input_tokens": 3, "output_tokens": 9})


def test_what_is_not_known_goes_through(say: Any) -> None:
    unknown = {"type": "hologram", "beam": 1}
    events = say.reply(unknown, say.text("x"))
    events.insert(2, {"type": "content_block_delta", "index": 0, "delta": {"type": "glow", "colour": "red"}})
    events.insert(0, {"type": "ping"})
    events.insert(3, {"type": "brand_new_event", "index": 77})
    assert _assemble(events)["content"] == [{**unknown, "colour": "red"}, say.text("x")]


@pytest.mark.parametrize(
    "text",
    [
        '{"n": 1',
        '{"n": 1}{"n": 2}',
        '{"n": 1} x',
        "[1]",
        "1",
        "null",
        '{"n": NaN}',
        '{"n": Infinity}',
        '{"n": 1e999}',
        '{"n": 123456789012345678901234567890}',
        '{"n": ' + "9" * 5_000 + "}",
        '{"s": "\\ud800"}',
        '{"n": 1, "n": 2}',
        '{"deep": [{"n": 1, "m": 2, "n": 1}]}',
        "{'n': 1}",
        '{"n": 1,}',
        "{} {}",
        " ",
        "\ufeff{}",
        "[" * 100_000,
        '{"n":' * 100_000,
        '{"n":' * 300 + "1" + "}" * 300,
    ],
)
def test_an_input_that_is_not_one_object_is_a_fault_and_kept_as_text(say: Any, text: str) -> None:
    assembler = Assembler()
    ended = [
        action
        for event in say.reply(say.raw("c", "bash", text), stop="tool_use")
        for action in assembler.feed(event)
        if isinstance(action, Ended)
    ]
    assert ended[0].fault
    assert len(ended[0].fault) < 300
    assert ended[0].block["input"] == {"INVALID_JSON": text}
    orjson.dumps(ended[0].block)


NUMBERS = st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | st.text() | NUMBERS,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), VALUES))
def test_an_input_is_taken_as_it_was_written(say: Any, value: dict[str, Any]) -> None:
    assembled = _assemble(say.reply(say.raw("c", "bash", json.dumps(value)), stop="tool_use"))
    assert assembled["content"][0]["input"] == value


def test_a_starts_input_is_never_believed(say: Any) -> None:
    events = say.reply(say.call("c", "bash"), stop="tool_use")
    events[1]["content_block"]["input"] = {"command": "rm -rf /"}
    assert _assemble(events)["content"][0]["input"] == {}


def test_an_input_that_came_in_its_start_is_taken_at_the_end_if_no_piece_comes(say: Any) -> None:
    call = say.call("c", "bash", command="ls")
    events = say.reply({**call, "caller": {"type": "direct"}, "json": ""}, stop="tool_use")
    events[1]["content_block"] = {**call, "caller": {"type": "direct"}}
    events.insert(2, {"type": "content_block_delta", "index": 0, "delta": PIECE | {"partial_json": ""}})
    assembler = Assembler()
    actions = [action for event in events for action in assembler.feed(event)]
    assert actions[:3] == [
        Started(0, {**call, "caller": {"type": "direct"}, "input": {}}),
        Piece(0, "input", '{"command": "ls"}'),
        Ended(0, {**call, "caller": {"type": "direct"}}),
    ]


PIECE = {"type": "input_json_delta"}


@pytest.mark.parametrize("given", ["ls", ["ls"], 7])
def test_an_input_in_its_start_that_is_no_object_is_a_fault(say: Any, given: Any) -> None:
    events = say.reply(say.raw("c", "bash", ""), stop="tool_use")
    events[1]["content_block"]["input"] = given
    assert _assemble(events)["content"][0]["input"] == {"INVALID_JSON": json.dumps(given)}


@pytest.mark.parametrize("given", [{}, {"input": None}, {"input": {}}])
def test_a_call_whose_start_has_no_input_has_an_empty_one(say: Any, given: dict[str, Any]) -> None:
    events = say.reply(say.raw("c", "bash", ""), stop="tool_use")
    events[1]["content_block"] = {"type": "tool_use", "id": "c", "name": "bash", **given}
    assert _assemble(events)["content"] == [say.call("c", "bash")]


def test_content_that_is_there_when_a_reply_begins_is_told_like_any_other(say: Any) -> None:
    message = say.reply()[0]["message"]
    content = [say.text("so"), say.call("c", "bash", n=1)]
    start = {"type": "message_start", "message": {**message, "content": content, "stop_reason": "tool_use"}}
    assembler = Assembler()
    actions = assembler.feed(start)
    assert [type(action) for action in actions] == [Started, Piece, Ended, Started, Piece, Ended]
    assert actions[-1] == Ended(1, content[1])
    assert assembler.feed({"type": "message_stop"}) == [Stopped("tool_use", message["usage"])]
    assert list(assembler.blocks.values()) == content


def test_a_stop_reason_is_told_once_and_counters_do_not_take_it_back(say: Any) -> None:
    events = say.reply(say.text("x"), stop="tool_use")
    counters = {"type": "message_delta", "delta": {"stop_reason": None}, "usage": {"output_tokens": 5}}
    assembler = Assembler()
    actions = [
        action
        for event in [*events[:-2], counters, events[-2], counters, events[-1]]
        for action in assembler.feed(event)
    ]
    assert [action.reason for action in actions if isinstance(action, Stopped)] == ["tool_use"]
    assert assembler.message["stop_reason"] == "tool_use"


def test_a_delta_of_an_unknown_kind_does_not_change_what_is_sent_back(say: Any) -> None:
    blocks = [say.thinking("hm"), say.text("x"), say.call("c", "bash", n=1)]
    odd = {"type": "odd_delta", "id": "d", "text": "?", "signature": "?", "input": {"n": 2}, "odd": True}
    events = []
    for event in say.reply(*blocks, stop="tool_use"):
        if event["type"] == "content_block_stop":
            events.append({"type": "content_block_delta", "index": event["index"], "delta": odd})
        events.append(event)
    assert _assemble(events)["content"] == blocks


def test_counters_overwrite_and_absent_ones_stay(say: Any) -> None:
    events = say.reply(say.text("x"))
    events[0]["message"] |= {
        "usage": {"input_tokens": 3, "cache_read_input_tokens": 5},
        "container": {"id": "k"},
    }
    last = {"type": "message_delta", "delta": {"stop_reason": "end_turn", "container": None}}
    events.insert(-1, {**last, "usage": {"output_tokens": 12, "cache_read_input_tokens": None}})
    message = _assemble(events)
    assert message["usage"] == {"input_tokens": 3, "cache_read_input_tokens": 5, "output_tokens": 12}
    assert message["container"] == {"id": "k"}


def _spliced(reply: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [*reply[:3], reply[0], *reply[3:]]


def _twice(reply: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [*reply[:2], reply[1], *reply[2:]]


def _headless(reply: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return reply[1:]


def _after_its_end(reply: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [*reply[:-2], reply[2], *reply[-2:]]


def _a_text_for_a_call(reply: list[dict[str, Any]]) -> list[dict[str, Any]]:
    call = {"type": "tool_use", "id": "c", "name": "bash", "input": {}}
    return [reply[0], {"type": "content_block_start", "index": 0, "content_block": call}, *reply[2:]]


def _no_start(reply: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return reply[-2:]


def _only_an_end(reply: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return reply[-1:]


def _a_call_without_name(reply: list[dict[str, Any]]) -> list[dict[str, Any]]:
    call = {"type": "tool_use", "id": "c", "input": {}}
    return [reply[0], {"type": "content_block_start", "index": 0, "content_block": call}, *reply[2:]]


def _a_text_that_is_none(reply: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [*reply[:2], {**reply[2], "delta": {"type": "text_delta", "text": 7}}, *reply[3:]]


def _no_event(reply: list[dict[str, Any]]) -> list[Any]:
    return [*reply[:2], ["not", "an", "event"], *reply[2:]]


def _bare_delta(reply: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [*reply[:2], {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta"}}]


@pytest.mark.parametrize(
    "damage",
    [
        _spliced,
        _twice,
        _headless,
        _no_start,
        _only_an_end,
        _after_its_end,
        _bare_delta,
        _a_text_for_a_call,
        _a_text_that_is_none,
        _a_call_without_name,
        _no_event,
    ],
)
def test_events_that_are_not_one_reply_are_a_fault(
    say: Any, damage: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]
) -> None:
    with pytest.raises(Fault) as caught:
        _assemble(damage(say.reply(say.text("hello there"))))
    assert caught.value.code == "protocol_error"
    assert caught.value.mid_stream


def test_an_error_event_is_a_fault_with_the_apis_words() -> None:
    with pytest.raises(Fault, match="Overloaded") as caught:
        Assembler().feed({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
    assert caught.value.code == "overloaded_error"


def test_a_large_input_costs_linear_time(say: Any) -> None:
    import time

    def seconds(size: int) -> float:
        text = json.dumps({"rows": [{"n": n} for n in range(size)]})
        events = say.reply(say.raw("c", "files", text), stop="tool_use")
        best = float("inf")
        for _ in range(3):
            began = time.process_time()
            _assemble(events)
            best = min(best, time.process_time() - began)
        return best

    assert seconds(40_000) / seconds(5_000) < 8 * 3
