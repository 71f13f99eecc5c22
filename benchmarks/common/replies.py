"""Replies of a model, for `player`: blocks as the API streams them, on a clock."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from common.player import Reply


MODEL = "claude-sonnet-5"


def event(data: dict[str, Any]) -> str:
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n"


class Script:
    """A reply in the making; each part is due a while after the one before.

    Args:
        after: Seconds until the reply begins.

    Attributes:
        ends: The number of the part that ends a call's block, by the call's id.
    """

    def __init__(self, after: float = 0.0) -> None:
        self.parts: Reply = []
        self.ends: dict[str, int] = {}
        self.now = after
        self._index = 0
        usage = {"input_tokens": 10, "output_tokens": 1}
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "content": []}
        message |= {"stop_reason": None, "stop_sequence": None, "usage": usage}
        self._add({"type": "message_start", "message": message})

    def wait(self, seconds: float) -> Script:
        """Let time go by before the next part."""
        self.now += seconds
        return self

    def text(self, pieces: list[str], every: float = 0.0) -> Script:
        """A block of text; a piece may contain `player.STAMP`."""
        deltas = [{"type": "text_delta", "text": piece} for piece in pieces]
        return self._block({"type": "text", "text": ""}, deltas, every)

    def call(self, call: str, name: str, arguments: str, size: int = 10, every: float = 0.0) -> Script:
        """A call, its arguments in pieces of `size` characters."""
        pieces = [arguments[at : at + size] for at in range(0, len(arguments), size)]
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
        self._block({"type": "tool_use", "id": call, "name": name, "input": {}}, deltas, every)
        self.ends[call] = len(self.parts) - 1
        return self

    def end(self, reason: str = "end_turn") -> Reply:
        """The whole reply, ended."""
        delta = {"stop_reason": reason, "stop_sequence": None}
        self._add({"type": "message_delta", "delta": delta, "usage": {"output_tokens": len(self.parts)}})
        self._add({"type": "message_stop"})
        return self.parts

    def _block(self, block: dict[str, Any], deltas: list[dict[str, Any]], every: float) -> Script:
        index, self._index = self._index, self._index + 1
        self._add({"type": "content_block_start", "index": index, "content_block": block})
        for delta in deltas:
            self._add({"type": "content_block_delta", "index": index, "delta": delta})
            self.now += every
        self._add({"type": "content_block_stop", "index": index})
        return self

    def _add(self, data: dict[str, Any]) -> None:
        self.parts.append((self.now, event(data)))
