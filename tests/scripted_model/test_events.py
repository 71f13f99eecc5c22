from __future__ import annotations

from typing import Any

import pytest

from dcops.scripted_model.events import message_events, messages_of, pieces

USAGE = {"input_tokens": 3, "output_tokens": 7, "service_tier": "standard"}


def message(*content: dict[str, Any], stop: str = "end_turn") -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": list(content),
        "stop_reason": stop,
        "stop_sequence": None,
        "stop_details": None,
        "usage": USAGE,
    }


BLOCKS = [
    {"type": "thinking", "thinking": "Let me see. ", "signature": "sig"},
    {"type": "thinking", "thinking": "", "signature": "omitted"},
    {"type": "redacted_thinking", "data": "xyz"},
    {"type": "text", "text": " Two  words,\n\nand ümläuts 😄 \n"},
    {
        "type": "tool_use",
        "id": "toolu_1",
        "name": "bash",
        "input": {"command": "ls -la", "deep": [1, {"a": None}]},
    },
    {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}},
    {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
]


@pytest.mark.parametrize("chunk", [(), (1,), (3, 1), (1000,)])
def test_the_events_of_a_message_amount_to_it(chunk: tuple[int, ...]) -> None:
    (read,) = messages_of(message_events(message(*BLOCKS), chunk, pings=3))
    assert read == message(*BLOCKS)


def test_the_order_is_the_api_s() -> None:
    events = list(message_events(message({"type": "text", "text": "Hi there"}), pings=2))
    assert [event["type"] for event in events] == [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "ping",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert events[0]["message"]["stop_reason"] is None
    assert events[0]["message"]["usage"]["output_tokens"] == 1
    assert events[-2] == {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None, "stop_details": None},
        "usage": {"input_tokens": 3, "output_tokens": 7},
    }


def test_a_call_starts_empty_and_its_input_comes_in_pieces() -> None:
    events = list(
        message_events(message({"type": "tool_use", "id": "t", "name": "b", "input": {"a": 1}}), (2,))
    )
    assert events[1]["content_block"] == {"type": "tool_use", "id": "t", "name": "b", "input": {}}
    deltas = [event["delta"]["partial_json"] for event in events if event["type"] == "content_block_delta"]
    assert deltas == ["", '{"', 'a"', ":1", "}"]


def test_input_that_is_no_json_goes_out_as_it_is() -> None:
    broken = {"type": "tool_use", "id": "t", "name": "b", "input_json": '{"a": '}
    events = list(message_events(message(broken), (100,)))
    assert "input_json" not in events[1]["content_block"]
    assert [event["delta"]["partial_json"] for event in events[3:5]] == ["", '{"a": ']
    (read,) = messages_of(events)
    assert read["content"][0]["input"] == {}


def test_unsigned_thinking_has_no_signature_delta() -> None:
    events = message_events(message({"type": "thinking", "thinking": "cut", "signature": ""}))
    assert "signature_delta" not in [
        event["delta"]["type"] for event in events if "index" in event and "delta" in event
    ]


def test_words_keep_every_character() -> None:
    text = "  one two\n\nthree  \n"
    assert "".join(pieces(text, ())) == text
    assert pieces("one two", ()) == ["one", " two"]


def test_events_out_of_place_are_passed_over() -> None:
    odd = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}},
        {"type": "message_start"},
        {"type": "content_block_start", "index": 0, "content_block": "text"},
        *message_events(message({"type": "text", "text": "fine"})),
        {"type": "content_block_delta", "index": 9, "delta": {"type": "text_delta", "text": "x"}},
        {"type": "new_kind"},
    ]
    (read,) = messages_of(odd)
    assert read["content"] == [{"type": "text", "text": "fine"}]


def test_citations_are_collected() -> None:
    citation = {"type": "citations_delta", "citation": {"cited_text": "c"}}
    events = [
        {"type": "message_start", "message": message()},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": citation},
    ]
    (read,) = messages_of(events)
    assert read["content"] == [{"type": "text", "text": "", "citations": [{"cited_text": "c"}]}]
