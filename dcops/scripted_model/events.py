"""Content blocks to the stream's events, and back to a message."""

from __future__ import annotations

import copy
import re
from contextlib import suppress
from itertools import cycle
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Event = dict[str, Any]

_WORD = re.compile(r"\s*\S+\s*$|\s*\S+|\s+")
_STOP = ("stop_reason", "stop_sequence", "stop_details")
_DELTAS = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}


def message_events(message: dict[str, Any], chunk: tuple[int, ...] = (), pings: int = 1) -> Iterator[Event]:
    """The events that stream a message.

    Args:
        message: in the API's form; a `tool_use` may have `input_json`, sent as it is, for `input`.
        chunk: characters per delta, cycled; empty means whole words.
        pings: how many; the first follows the first block's start, each other one a delta.
    """
    usage = message["usage"]
    unsaid = {"content": [], "usage": usage | {"output_tokens": 1}} | dict.fromkeys(_STOP)
    yield {"type": "message_start", "message": message | unsaid}
    for event in _block_events(message["content"], chunk):
        yield event
        if pings and event["type"] in ("content_block_start", "content_block_delta"):
            pings -= 1
            yield {"type": "ping"}
    stop = {name: message.get(name) for name in _STOP}
    counts = {name: value for name, value in usage.items() if name.endswith("_tokens")}
    yield {"type": "message_delta", "delta": stop, "usage": counts}
    yield {"type": "message_stop"}


def _block_events(content: list[dict[str, Any]], chunk: tuple[int, ...]) -> Iterator[Event]:
    for index, block in enumerate(content):
        start, deltas = _split(block, chunk)
        yield {"type": "content_block_start", "index": index, "content_block": start}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}


def _split(block: dict[str, Any], chunk: tuple[int, ...]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A block's start and its deltas; blocks of other kinds come whole in their start."""
    kind = block["type"]
    if kind == "text":
        deltas = [{"type": "text_delta", "text": piece} for piece in pieces(block["text"], chunk)]
        return block | {"text": ""}, deltas
    if kind == "thinking":
        deltas = [{"type": "thinking_delta", "thinking": part} for part in pieces(block["thinking"], chunk)]
        if block.get("signature"):
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        return block | {"thinking": "", "signature": ""}, deltas
    if kind in ("tool_use", "server_tool_use", "mcp_tool_use"):
        start = {name: value for name, value in block.items() if name != "input_json"} | {"input": {}}
        parts = ["", *pieces(_input_text(block), chunk)]
        return start, [{"type": "input_json_delta", "partial_json": part} for part in parts]
    return block, []


def _input_text(block: dict[str, Any]) -> str:
    if "input_json" in block:
        return str(block["input_json"])
    given = block.get("input")
    return orjson.dumps(given).decode() if given else ""


def pieces(text: str, chunk: tuple[int, ...]) -> list[str]:
    """Text cut into words, or into pieces of the given sizes, which repeat."""
    if not chunk:
        return _WORD.findall(text)
    cut: list[str] = []
    sizes = cycle(chunk)
    at = 0
    while at < len(text):
        size = next(sizes)
        cut.append(text[at : at + size])
        at += size
    return cut


def messages_of(events: Iterable[Event]) -> list[dict[str, Any]]:
    """The messages that a stream's events amount to (recorded streams can hold several).

    Events out of place or of unknown kinds are passed over: what is remembered here is what a
    tolerant reader could have understood.
    """
    messages: list[dict[str, Any]] = []
    blocks: dict[int, dict[str, Any]] = {}
    for event in events:
        with suppress(AttributeError, IndexError, KeyError, TypeError, ValueError):
            _apply(event, messages, blocks)
    for message in messages:
        message["content"] = [sealed(block) for block in message["content"]]
    return messages


def _apply(event: Event, messages: list[dict[str, Any]], blocks: dict[int, dict[str, Any]]) -> None:
    kind = event["type"]
    if kind == "message_start":
        messages.append(copy.deepcopy(event["message"]) | {"content": []})
        blocks.clear()
    elif kind == "content_block_start":
        block = dict(copy.deepcopy(event["content_block"]))
        messages[-1]["content"].append(block)
        blocks[event["index"]] = block
    elif kind == "content_block_delta":
        _add(blocks[event["index"]], event["delta"])
    elif kind == "message_delta":
        messages[-1].update(event["delta"])
        messages[-1]["usage"] = messages[-1].get("usage", {}) | event.get("usage", {})


def _add(block: dict[str, Any], delta: dict[str, Any]) -> None:
    if delta["type"] == "input_json_delta":
        block["input_json"] = block.get("input_json", "") + delta["partial_json"]
    elif delta["type"] == "citations_delta":
        block["citations"] = [*(block.get("citations") or []), delta["citation"]]
    elif name := _DELTAS.get(delta["type"]):
        block[name] = block.get(name, "") + delta[name]


def sealed(block: dict[str, Any]) -> dict[str, Any]:
    """A block whose input is read from its text; text that is no JSON is no input."""
    if "input_json" not in block:
        return block
    plain = {name: value for name, value in block.items() if name != "input_json"}
    with suppress(orjson.JSONDecodeError):
        return plain | {"input": orjson.loads(block["input_json"])}
    return plain | {"input": {}}
