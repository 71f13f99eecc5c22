"""Replies that come whole, read like streams."""

from __future__ import annotations

from typing import Any

import pytest

from dcops.agent.model.assembler import Assembler
from dcops.agent.model.whole import as_events

BLOCKS: list[dict[str, Any]] = [
    {"type": "thinking", "thinking": "let me see", "signature": "abc"},
    {"type": "thinking", "thinking": "", "signature": "of omitted thinking"},
    {"type": "redacted_thinking", "data": "xyz"},
    {"type": "text", "text": "one", "citations": [{"type": "char_location", "cited_text": "x"}]},
    {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}},
    {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"type": "web_search_result"}]},
    {"type": "tool_use", "id": "c", "name": "bash", "input": {"command": 'echo "\u00e9\\n"', "n": 1e300}},
    {"type": "tool_use", "id": "d", "name": "look", "input": {}},
    {"type": "compaction", "content": "what was said"},
    {"type": "brand_new", "x": {"y": [1]}},
]


def _message(stop: str, *blocks: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "msg",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": list(blocks),
        "stop_reason": stop,
        "stop_sequence": None,
        "container": {"id": "box"},
        "usage": {"input_tokens": 3, "output_tokens": 9},
    }


def _assembled(message: dict[str, Any]) -> dict[str, Any]:
    assembler = Assembler()
    for event in as_events(message):
        assembler.feed(event)
    assert assembler.done
    assert assembler.open == set()
    return {**assembler.message, "content": list(assembler.blocks.values())}


@pytest.mark.parametrize("stop", ["end_turn", "tool_use", "max_tokens", "something_new"])
def test_a_whole_reply_is_assembled_to_itself(stop: str) -> None:
    message = _message(stop, *BLOCKS)
    assert _assembled(message) == message


def test_what_a_refused_reply_called_is_left_out_as_it_has_not_run() -> None:
    kept = [block["type"] for block in _assembled(_message("refusal", *BLOCKS))["content"]]
    assert kept == [block["type"] for block in BLOCKS if block["type"] != "tool_use"]


def test_a_reply_without_usage_and_a_text_without_text_are_read() -> None:
    message = _message("end_turn", {"type": "text", "text": None})
    del message["usage"]
    assert _assembled(message)["content"] == [{"type": "text", "text": ""}]
