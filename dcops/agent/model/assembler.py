"""From the API's stream events to blocks: a pure state machine, keyed by block index.

It takes a call's input at the block's end, once and strictly: from its pieces, or, if none came, from the
block's start, which is empty in most streams. It lets through what it does not know.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from io import StringIO
from math import isfinite
from typing import TYPE_CHECKING, Any

import orjson

from ..events import Fault
from .whole import block_events

if TYPE_CHECKING:
    from ..events import Block


@dataclass(slots=True)
class Started:
    """A block begins; `block` is what its start says."""

    index: int
    block: Block


@dataclass(slots=True)
class Piece:
    """More of a block: of its `text`, its `thinking`, or the JSON text of its `input`."""

    index: int
    kind: str
    text: str


@dataclass(slots=True)
class Ended:
    """A block is complete; `fault` says why a call's input is not one JSON object."""

    index: int
    block: Block
    fault: str | None = None


@dataclass(slots=True)
class Stopped:
    """The model stopped, and why; the counters are cumulative."""

    reason: str
    usage: dict[str, Any]


Action = Started | Piece | Ended | Stopped

_PIECES = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "input_json_delta": ("input", "partial_json"),
}
_GROWS = {
    "text": {"text_delta", "citations_delta"},
    "thinking": {"thinking_delta", "signature_delta"},
    "redacted_thinking": set(),
    "tool_use": {"input_json_delta"},
}
_KNOWN = set().union(*_GROWS.values())
_NAMES = {"type", "id", "name", "input", "toolset_name"}


class Assembler:
    """One reply as it arrives.

    Attributes:
        message: what the reply says about itself: id, model, usage, stop_reason; content excepted.
        blocks: the blocks by index in the order of their starts; those still open hold what came so far.
        open: the indices of blocks that have not ended.
        done: whether the reply is complete.
    """

    def __init__(self) -> None:
        """Expects a `message_start` first."""
        self.message: dict[str, Any] = {}
        self.blocks: dict[int, Block] = {}
        self.open: set[int] = set()
        self.done = False
        self._pieces: dict[int, defaultdict[str, StringIO]] = {}
        self._told: str | None = None

    def feed(self, event: dict[str, Any]) -> list[Action]:
        """Takes the next event, and tells what it means.

        Raises:
            Fault: the API reports an error, or the events are not those of one reply.
        """
        try:
            return self._feed(event)
        except (KeyError, TypeError, AttributeError) as error:
            kind = event.get("type") if isinstance(event, dict) else type(event).__name__
            raise _broken(f"{kind} is not as it must be ({error!r})") from error

    def _feed(self, event: dict[str, Any]) -> list[Action]:
        match event.get("type"):
            case "content_block_delta":  # first, since nearly all are
                return self._grow(event["index"], event["delta"])
            case "message_start":
                return self._start_message(event["message"])
            case "content_block_start":
                return self._start_block(event["index"], event["content_block"])
            case "content_block_stop":
                return self._end_block(event["index"])
            case "message_delta":
                return self._stop(event)
            case "message_stop":
                self._must_have_begun()
                self.done = True
                return self._stopped()
            case "error":
                error = event.get("error") or {}
                code, text = error.get("type", "api_error"), error.get("message", "unknown")
                raise Fault(str(code), str(text), mid_stream=True)
        return []

    def settle(self) -> None:
        """Joins what came of the blocks that are still open, after the stream was cut."""
        for index in self.open:
            self._join(index)

    def _start_message(self, message: dict[str, Any]) -> list[Action]:
        if self.message:
            raise _broken("a second reply began before the first one ended")
        self.message = {"type": "message", **message}
        there = enumerate(self.message.pop("content", None) or ())  # what the API had before it streamed
        events = [event for index, block in there for event in block_events(index, block)]
        return [action for event in events for action in self._feed(event)]

    def _must_have_begun(self) -> None:
        if not self.message:
            raise _broken("it does not start with the start of a reply")

    def _start_block(self, index: int, block: Block) -> list[Action]:
        self._must_have_begun()
        if index in self.blocks:
            raise _broken(f"block {index} began twice")
        checked = _checked(block)
        if block["type"] == "fallback":  # another model goes on with the reply
            self.message["model"] = block["to"]["model"]
        self.blocks[index] = checked | block
        self.open.add(index)
        self._pieces[index] = defaultdict(StringIO)
        return [Started(index, checked)]

    def _grow(self, index: int, delta: dict[str, Any]) -> list[Action]:
        if index not in self.open:
            raise _broken(f"block {index} grew while it was not open")
        block, kind = self.blocks[index], delta["type"]
        if kind not in _GROWS.get(block["type"], _KNOWN) and kind in _KNOWN:
            raise _broken(f"block {index}, {block['type']}, got a {kind}")
        if kind in _PIECES:
            field, source = _PIECES[kind]
            text = delta[source]
            if not isinstance(text, str):
                raise TypeError(f"{source} is not a text")
            self._pieces[index][field].write(text)
            return [Piece(index, field, text)] if text else []
        if kind == "citations_delta":
            block["citations"] = [*(block.get("citations") or []), delta["citation"]]
            return []
        if kind in _KNOWN or block["type"] not in _GROWS:  # a known block stays such that it can be sent back
            block.update({key: value for key, value in delta.items() if key not in _NAMES})
        return []

    def _end_block(self, index: int) -> list[Action]:
        if index not in self.open:
            raise _broken(f"block {index} ended while it was not open")
        self._join(index)
        self.open.remove(index)
        block = self.blocks[index]
        text = self._pieces.pop(index)["input"].getvalue()
        if "input" not in block or not (text or block["type"].endswith("tool_use")):
            return [Ended(index, block)]
        actions: list[Action] = []
        if not text and block["input"]:
            text = json.dumps(block["input"])
            actions.append(Piece(index, "input", text))
        block["input"], fault = _object(text)
        return [*actions, Ended(index, block, fault)]

    def _join(self, index: int) -> None:
        block = self.blocks[index]
        for kind, grown in self._pieces[index].items():
            if kind != "input":
                block[kind] = str(block.get(kind) or "") + grown.getvalue()
                grown.seek(0)
                grown.truncate()

    def _stop(self, event: dict[str, Any]) -> list[Action]:
        self._must_have_begun()
        usage = {**(self.message.get("usage") or {}), **_present(event.get("usage") or {})}
        beside = {key: value for key, value in event.items() if key not in {"type", "delta"}}
        self.message |= {**_present(beside), **_present(event["delta"]), "usage": usage}
        return self._stopped()

    def _stopped(self) -> list[Action]:
        """Why the model stopped, if that is known and was not told yet."""
        reason = self.message.get("stop_reason")
        if reason in {None, self._told}:
            return []
        self._told = reason
        return [Stopped(reason, self.message.get("usage") or {})]


def _present(values: dict[str, Any]) -> dict[str, Any]:
    """Without what is null: that says nothing about what was said before."""
    return {key: value for key, value in values.items() if value is not None}


def _checked(block: Block) -> Block:
    """A block's start with the names that it needs, and with nothing that it says about a call's input."""
    names: tuple[str, ...] = ()
    if block["type"].endswith("tool_use"):
        names, block = ("id", "name"), {**block, "input": {}}
    elif block["type"].endswith("tool_result"):
        names = ("tool_use_id",)
    for name in names:
        if not isinstance(block[name], str) or not block[name]:
            raise TypeError(f"{name} is no name")
    return block


def _object(text: str) -> tuple[dict[str, Any], str | None]:
    """A call's input, strictly: one JSON object that can be written again as it is, or why it is none."""
    if not text:
        return {}, None
    try:
        value = strict_json(text)
    except ValueError as error:
        return {"INVALID_JSON": text}, f"the input is not valid JSON ({error})"
    if not isinstance(value, dict):
        return {"INVALID_JSON": text}, "the input is not a JSON object"
    return value, None


def strict_json(text: str) -> Any:
    """The one JSON value that a text is, if it can be written again as it is.

    Raises:
        ValueError: it is none, or more than one, or has what the journal could not keep.
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_float=_finite, parse_constant=_finite)
        orjson.dumps(value)  # numbers beyond 64 bits and lone surrogates would not survive the journal
    except (TypeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {twice[:80]!r} stands twice in one object")
    return value


def _finite(number: str) -> float:
    value = float(number)
    if not isfinite(value):
        raise ValueError(f"{number[:80]} is no number that JSON has")
    return value


def _broken(what: str) -> Fault:
    return Fault("protocol_error", f"the model's stream is broken: {what}", mid_stream=True)
