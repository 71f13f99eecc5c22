"""Undamaged streams: recorded ones, common ones made up, and what was never recorded but may come."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from dcops.agent.model.sse import Decoder

if TYPE_CHECKING:
    from pathlib import Path

Block = dict[str, Any]
Events = list[dict[str, Any]]
Streams = dict[str, Callable[[Any], Events]]


@cache
def recorded(path: Path) -> list[Events]:
    """The replies of a file; some hold several, one after the other."""
    replies: list[Events] = []
    decoder = Decoder()
    for event in [*decoder.feed(path.read_bytes()), *decoder.end()]:
        if event["type"] == "message_start":
            replies.append([])
        replies[-1].append(event)
    return replies


SEARCH = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []}
FALLBACK = {"type": "fallback", "from": {"model": "a"}, "to": {"model": "b"}}
REDACTED = {"type": "redacted_thinking", "data": "xyz"}
COMPACTION = {"type": "compaction", "content": None}
COMPACTED = {"type": "compaction_delta", "content": "so far", "encrypted_content": "e"}
HOLOGRAM = {"type": "hologram", "beam": 1, "input": "light"}
SIX: list[Block] = [{"type": "tool_use", "id": f"c{n}", "name": "probe", "input": {"n": n}} for n in range(6)]
ONE, TWO, *_ = SIX
EMPTY, BLANK = ({"type": "text", "text": text} for text in ("", " "))
BETWEEN = [block for call in SIX[:3] for block in ({"type": "text", "text": f"now {call['id']}"}, call)]


def _api_tools() -> list[Block]:
    """Each kind of call that the API answers itself, its input in its start, with the result."""
    errors = {"type": "error", "error_code": "unavailable"}
    kinds = {
        "web_search": [],
        "web_fetch": {"type": "web_fetch_result", "url": "http://a.test", "content": {"type": "document"}},
        "code_execution": {"type": "code_execution_result", "stdout": "", "return_code": 0, "content": []},
        "bash_code_execution": errors,
        "text_editor_code_execution": {"type": "text_editor_code_execution_create_result"},
        "tool_search": {"type": "tool_search_tool_search_result", "tool_references": []},
        "advisor": {"type": "advisor_redacted_result", "encrypted_content": "e"},
    }
    blocks: list[Block] = []
    for kind, content in kinds.items():
        given = {"type": "server_tool_use", "id": f"s_{kind}", "name": kind, "input": {"query": kind}}
        blocks += [
            given,
            {"type": f"{kind}_tool_result", "tool_use_id": f"s_{kind}", "content": content},
        ]
    used = {"type": "mcp_tool_use", "id": "m1", "name": "ask", "server_name": "s", "input": {}}
    answer = {"type": "mcp_tool_result", "tool_use_id": "m1", "is_error": True, "content": []}
    return [*blocks, {"type": "container_upload", "file_id": "f"}, used, answer]


def _citations() -> list[Block]:
    place = {"type": "char_location", "cited_text": "x", "document_index": 0}
    return [{"type": "citations_delta", "citation": {**place, "start_char_index": n}} for n in range(2)]


def _grown(events: Events, *deltas: Block) -> Events:
    """The first block grows by these deltas at its end."""
    place = next(n for n, event in enumerate(events) if event["type"] == "content_block_stop")
    more = [{"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas]
    return [*events[:place], *more, *events[place:]]


def _odd_deltas(events: Events) -> Events:
    """Behind each block's start a delta of an unknown kind, which would make the block unfit to send."""
    odd = {"type": "odd_delta", "text": "?", "thinking": "?", "signature": "?", "input": {}, "odd": 1}
    grown: Events = []
    for event in events:
        grown.append(event)
        if event["type"] == "content_block_start":
            grown.append({"type": "content_block_delta", "index": event["index"], "delta": odd})
    return grown


def _in_starts(events: Events) -> Events:
    """The blocks as a whole in their starts, without deltas."""
    blocks = _whole(events)
    return [
        {**event, "content_block": blocks[event["index"]]} if "content_block" in event else event
        for event in events
        if event["type"] != "content_block_delta"
    ]


def _prepared(events: Events, number: int = 100) -> Events:
    """The first blocks in the message's start; if these are all, the stop reason stands there, too."""
    blocks = list(_whole(events).values())
    message = {**events[0]["message"], "content": blocks[:number]}
    if number >= len(blocks):
        return [{"type": "message_start", "message": {**message, "stop_reason": "tool_use"}}, events[-1]]
    later = [event for event in events[1:] if event.get("index", number) >= number]
    return [{"type": "message_start", "message": message}, *later]


def _whole(events: Events) -> dict[int, Block]:
    blocks: dict[int, Block] = {}
    for event in events:
        if event["type"] == "content_block_start":
            blocks[event["index"]] = {**event["content_block"]}
        elif event["type"] == "content_block_delta":
            block, delta = blocks[event["index"]], event["delta"]
            for name in delta.keys() & {"text", "thinking", "signature"}:
                block[name] += delta[name]
            block["json"] = block.get("json", "") + delta.get("partial_json", "")
    for block in blocks.values():
        if text := block.pop("json", ""):
            block["input"] = json.loads(text)
    return blocks


def _between(events: Events, event: Block, where: slice = slice(None)) -> Events:
    """The event behind each of those, and before the first one where that is among them."""
    first, last, _ = where.indices(len(events))
    mixed = [one for each in events[first:last] for one in (event, each)]
    return [*events[:first], *mixed, event, *events[last:]]


def _no_usage(events: Events) -> Events:
    message = {name: value for name, value in events[0]["message"].items() if name != "usage"}
    return [
        {"type": "message_start", "message": message},
        *events[1:-2],
        {**events[-2], "usage": None},
        events[-1],
    ]


def _ends(events: Events) -> Events:
    """Counters come before the stop reason, and context edits behind it."""
    counters = {"type": "message_delta", "delta": {"stop_reason": None}, "usage": {"output_tokens": 5}}
    edits = {"applied_edits": [{"type": "clear_tool_uses_20250919", "cleared_tool_uses": 1}]}
    return [*events[:-2], counters, events[-2], {**counters, "context_management": edits}, events[-1]]


def _spread(events: Events) -> Events:
    return [{**event, "index": event["index"] * 3 + 1} if "index" in event else event for event in events]


COMMON: Streams = {
    "six calls": lambda say: say.reply(*SIX, stop="tool_use"),
    "text between": lambda say: say.reply(*BETWEEN, stop="tool_use"),
    "thinking before calls": lambda say: say.reply(
        say.thinking("hm hm"), REDACTED, *SIX[:2], stop="tool_use"
    ),
    "thinking between calls": lambda say: say.reply(
        say.thinking("one", "s1"), SIX[0], say.thinking("", "s2"), SIX[1], stop="tool_use"
    ),
    "server tools": lambda say: say.reply(say.text("look"), SEARCH, FOUND, say.text("found it")),
    "blocks after a call": lambda say: say.reply(
        SIX[0], SEARCH, FOUND, say.text("and"), SIX[1], stop="tool_use"
    ),
    "server tool left open": lambda say: say.reply(say.text("look"), SEARCH, stop="pause_turn"),
    "no argument": lambda say: say.reply(say.raw("c", "probe", ""), stop="tool_use"),
    "no argument, then more": lambda say: say.reply(say.raw("c", "probe", ""), SIX[1], stop="tool_use"),
    "bad inputs": lambda say: say.reply(
        say.raw("a", "probe", '{"n": 1'), say.raw("b", "probe", "[1]"), SIX[0], stop="tool_use"
    ),
    "another model goes on": lambda say: say.reply(SIX[0], FALLBACK, SIX[1], say.text("x"), stop="tool_use"),
    "unknown tool": lambda say: say.reply(say.call("c", "hammer", n=1), SIX[1], stop="tool_use"),
    "calls, but no tool_use": lambda say: say.reply(SIX[0], SIX[1], stop="end_turn"),
    "tool_use, but no call": lambda say: say.reply(say.text("so"), stop="tool_use"),
    "tools that fail": lambda say: say.reply(
        say.call("a", "probe", fail=True),
        say.call("b", "probe", **{"raise": True}),
        SIX[1],
        stop="tool_use",
    ),
    "one after the other": lambda say: say.reply(
        *(say.call(f"c{n}", "probe", n=n, lane="one", seconds=1) for n in range(3)), stop="tool_use"
    ),
    "large input": lambda say: say.reply(
        say.raw("c", "probe", '{"text": "' + "x" * 20_000 + '"}', size=500), stop="tool_use"
    ),
}
"""What models say every day, and what they do wrong."""

RARE: Streams = {
    "all results of the API's tools": lambda say: say.reply(*_api_tools(), ONE, stop="tool_use"),
    "one of the API's tools left open": lambda say: say.reply(
        ONE, *_api_tools()[:-2], SEARCH, stop="tool_use"
    ),
    "citations": lambda say: _grown(say.reply(say.text("as they say"), ONE, stop="tool_use"), *_citations()),
    "compaction": lambda say: _grown(say.reply(COMPACTION, say.text("on"), ONE, stop="tool_use"), COMPACTED),
    "compaction alone": lambda say: _grown(say.reply(COMPACTION, stop="compaction"), COMPACTED),
    "thinking everywhere": lambda say: say.reply(
        say.thinking("a", "s1"), ONE, REDACTED, say.text("x"), say.thinking("b", "s2"), stop="tool_use"
    ),
    "thinking in its start": lambda say: _in_starts(say.reply(say.thinking("a", "s1"), ONE, stop="tool_use")),
    "texts and inputs in their starts": lambda say: _in_starts(
        say.reply(say.text("x"), ONE, TWO, stop="tool_use")
    ),
    "content in the message's start": lambda say: _prepared(
        say.reply(*_api_tools()[:2], ONE, TWO, stop="tool_use")
    ),
    "content in the message's start, and more": lambda say: _prepared(
        say.reply(FOUND, ONE, say.text("x"), TWO, stop="tool_use"), 2
    ),
    "a model goes on twice": lambda say: say.reply(
        say.text("x"), FALLBACK, ONE, FALLBACK, TWO, stop="tool_use"
    ),
    "unknown blocks": lambda say: _grown(
        say.reply(HOLOGRAM, ONE, HOLOGRAM, stop="tool_use"),
        {"type": "glow", "colour": "red"},
        {"type": "shine", "beam": 2},
    ),
    "unknown deltas": lambda say: _odd_deltas(
        say.reply(say.thinking("a", "s1"), say.text("x"), ONE, stop="tool_use")
    ),
    "unknown events": lambda say: _between(
        say.reply(ONE, TWO, stop="tool_use"), {"type": "news", "index": 0}
    ),
    "unknown stop reason": lambda say: say.reply(ONE, TWO, stop="something new"),
    "pings everywhere": lambda say: _between(
        say.reply(say.text("x"), ONE, stop="tool_use"), {"type": "ping"}
    ),
    "empty texts": lambda say: say.reply(EMPTY, ONE, EMPTY, BLANK, TWO, EMPTY, stop="tool_use"),
    "empty pieces": lambda say: _between(
        say.reply(ONE, stop="tool_use"),
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "input_json_delta", "partial_json": ""},
        },
        slice(2, -3),
    ),
    "no usage": lambda say: _no_usage(say.reply(say.text("x"), ONE, stop="tool_use")),
    "the end told twice": lambda say: _ends(say.reply(ONE, TWO, stop="tool_use")),
    "more after the end": lambda say: [*say.reply(ONE, stop="tool_use"), {"type": "ping"}, *say.reply(TWO)],
    "gaps between indices": lambda say: _spread(say.reply(say.text("x"), ONE, TWO, stop="tool_use")),
}
"""What the API has words for, and what it may have tomorrow."""
