"""A reply that came whole, as the events that a stream of it would have had."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..events import Block, Message

_TEXTS = {"text": ("text", "text_delta"), "thinking": ("thinking", "thinking_delta")}
_LAST = {"stop_reason", "stop_sequence", "stop_details"}


def as_events(reply: Message) -> Iterator[dict[str, Any]]:
    """The stream's events for a message of the API; a refused reply's calls are left out, as none has run."""
    refused = reply.get("stop_reason") == "refusal"
    blocks = [block for block in reply["content"] if not (refused and block["type"] == "tool_use")]
    beginning = {key: None if key in _LAST else value for key, value in reply.items()} | {"content": []}
    yield {"type": "message_start", "message": beginning}
    for index, block in enumerate(blocks):
        yield from block_events(index, block)
    ending = {key: reply[key] for key in reply if key in _LAST}
    yield {"type": "message_delta", "delta": ending, "usage": reply.get("usage") or {}}
    yield {"type": "message_stop"}


def block_events(index: int, block: Block) -> Iterator[dict[str, Any]]:
    """The stream's events for a block that is there as a whole."""
    start, deltas = dict(block), []
    if block["type"] in _TEXTS:
        field, kind = _TEXTS[block["type"]]
        start[field] = ""
        deltas.append({"type": kind, field: block.get(field) or ""})
    elif "input" in block:
        start["input"] = {}
        deltas.append({"type": "input_json_delta", "partial_json": json.dumps(block["input"])})
    yield {"type": "content_block_start", "index": index, "content_block": start}
    for delta in deltas:
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}
