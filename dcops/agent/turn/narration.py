"""What the assembler sees, told as events."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from .. import events

if TYPE_CHECKING:
    from ..events import Block, Event


class Narration:
    """Tells one reply; every part that began is told to have ended, also when the reply is cut."""

    def __init__(self, reply: str, *, thinking: bool) -> None:
        """Names the reply; `thinking` tells whether reasoning is shown."""
        self._reply = reply
        self._thinking = thinking
        self._open: dict[int, Block] = {}

    def started(self, index: int, block: Block) -> tuple[Event, ...]:
        """A block began."""
        kind = str(block["type"])
        told: tuple[Event, ...]
        if kind == "text":
            told = (events.text_start(self._name(index)),)
        elif kind == "thinking" and self._thinking:
            told = events.reasoning_start(self._name(index))
        elif kind.endswith("tool_use"):
            told = (events.tool_call_start(block["id"], block["name"]),)
        elif kind.endswith("tool_result"):
            content = orjson.dumps(block.get("content")).decode()
            return (events.tool_call_result(block["tool_use_id"], content),)
        else:
            return ()
        self._open[index] = block
        first = block.get(kind)
        return (*told, *self.piece(index, str(first))) if first else told

    def piece(self, index: int, text: str) -> tuple[Event, ...]:
        """A block grew."""
        block = self._open.get(index)
        if block is None:
            return ()
        match block["type"]:
            case "text":
                return (events.text_content(self._name(index), text),)
            case "thinking":
                return (events.reasoning_content(self._name(index), text),)
            case _:
                return (events.tool_call_args(block["id"], text),)

    def ended(self, index: int) -> tuple[Event, ...]:
        """A block ended."""
        block = self._open.pop(index, None)
        if block is None:
            return ()
        match block["type"]:
            case "text":
                return (events.text_end(self._name(index)),)
            case "thinking":
                return events.reasoning_end(self._name(index))
            case _:
                return (events.tool_call_end(block["id"]),)

    def cut(self) -> tuple[Event, ...]:
        """The reply ends here: closes what is open."""
        return tuple(event for index in tuple(self._open) for event in self.ended(index))

    def _name(self, index: int) -> str:
        return f"{self._reply}.{index}"
