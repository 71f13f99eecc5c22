"""The vocabulary of a turn: what happens, in AG-UI 1.0's words, for every client and for the journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Toggles = Mapping[str, Any]
"""Toggle values by name, pinned for one turn."""

Message = dict[str, Any]
"""One message in the form of the Messages API: ``{"role": ..., "content": [blocks]}``."""

Block = dict[str, Any]
"""One content block in the form of the Messages API."""


class Fault(Exception):
    """A turn cannot go on as it is: `code` is stable, the text is for people.

    `mid_stream` tells that a reply had begun, so that the turn counts as interrupted and not as failed.
    `passing` is what the API says of whether to ask again (None: nothing), `retry_after` in how many seconds.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        mid_stream: bool = False,
        passing: bool | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.mid_stream = mid_stream
        self.passing = passing
        self.retry_after = retry_after


@dataclass(slots=True)
class Event:
    """One thing that happened in a turn; on the wire it is ``{"type": type, **data}``."""

    type: str
    data: dict[str, Any]

    def wire(self) -> dict[str, Any]:
        """The AG-UI form, ready to be encoded as JSON."""
        return {"type": self.type, **self.data}


def run_started(session: str, turn: str, text: str) -> Event:
    """A turn began; carries the user's input so that a replay shows both sides of the conversation."""
    message = {"id": f"{turn}.input", "role": "user", "content": text}
    run = {"threadId": session, "runId": turn}
    return Event("RUN_STARTED", {**run, "input": {**run, "messages": [message]}})


def run_finished(session: str, turn: str, *, stop_reason: str, cancelled: bool = False) -> Event:
    """A turn ended as it should, or was stopped by its user (`cancelled`)."""
    outcome = {"type": "cancelled" if cancelled else "success"}
    result = {"stop_reason": stop_reason}
    return Event("RUN_FINISHED", {"threadId": session, "runId": turn, "outcome": outcome, "result": result})


def run_error(message: str, code: str) -> Event:
    """A turn ended by a fault; `code` is stable, `message` is for people."""
    return Event("RUN_ERROR", {"message": message, "code": code})


def text_start(message: str, role: str = "assistant") -> Event:
    """A text begins; `message` is the id that its pieces carry."""
    return Event("TEXT_MESSAGE_START", {"messageId": message, "role": role})


def text_content(message: str, delta: str) -> Event:
    """A piece of text, never empty."""
    return Event("TEXT_MESSAGE_CONTENT", {"messageId": message, "delta": delta})


def text_end(message: str) -> Event:
    """The text is complete, or was cut."""
    return Event("TEXT_MESSAGE_END", {"messageId": message})


def user_text(message: str, blocks: Sequence[Block]) -> tuple[Event, ...]:
    """What the user adds to a running turn; no events where it has no text."""
    text = "\n".join(block["text"] for block in blocks if block["type"] == "text")
    return (text_start(message, "user"), text_content(message, text), text_end(message)) if text else ()


def reasoning_start(message: str) -> tuple[Event, Event]:
    """Thinking begins: the reasoning phase and its one message."""
    return (
        Event("REASONING_START", {"messageId": message}),
        Event("REASONING_MESSAGE_START", {"messageId": message, "role": "reasoning"}),
    )


def reasoning_content(message: str, delta: str) -> Event:
    """A piece of thinking, never empty."""
    return Event("REASONING_MESSAGE_CONTENT", {"messageId": message, "delta": delta})


def reasoning_end(message: str) -> tuple[Event, Event]:
    """Thinking is complete, or was cut."""
    return (
        Event("REASONING_MESSAGE_END", {"messageId": message}),
        Event("REASONING_END", {"messageId": message}),
    )


def tool_call_start(call: str, name: str) -> Event:
    """The model began to write a call; its arguments follow."""
    return Event("TOOL_CALL_START", {"toolCallId": call, "toolCallName": name})


def tool_call_args(call: str, delta: str) -> Event:
    """A piece of the call's arguments: JSON text, complete only when joined."""
    return Event("TOOL_CALL_ARGS", {"toolCallId": call, "delta": delta})


def tool_call_end(call: str) -> Event:
    """The call is written (or was cut); whether it runs is told by ``tool.started``."""
    return Event("TOOL_CALL_END", {"toolCallId": call})


def tool_call_result(call: str, content: str) -> Event:
    """What the model is told about the call; exactly one per call."""
    data = {"messageId": f"{call}.result", "toolCallId": call, "content": content, "role": "tool"}
    return Event("TOOL_CALL_RESULT", data)


def custom(name: str, value: dict[str, Any]) -> Event:
    """What AG-UI has no word for.

    Args:
        name: one of ``tool.queued {call}``, ``tool.started {call}``, ``tool.output {call, text}``,
            ``tool.progress {call, percent, eta}``, ``tool.finished {call, status, exit_code, elapsed_ms}``
            (status is ``done``, ``failed``, ``cancelled``, ``timed_out`` or ``not_run``), ``tool.retry
            {call, attempt, reason, seconds}`` (the call is tried again in so many seconds), ``usage``
            (the API's counters of one reply), ``reply.cut {reason}`` (a reply is incomplete),
            ``retry {attempt, reason, seconds}`` (after a fault the model is asked again in so many seconds),
            ``paused {paused}``, ``drain``, ``turn.interrupted {reason}``,
            ``turn.limited {limit, value}``.
        value: the data, a JSON object.
    """
    return Event("CUSTOM", {"name": name, "value": value})


_DELTAS = {
    "TEXT_MESSAGE_CONTENT": "messageId",
    "REASONING_MESSAGE_CONTENT": "messageId",
    "TOOL_CALL_ARGS": "toolCallId",
}


def is_piece(event: Event) -> bool:
    """Whether an event is a piece of a text that the model writes."""
    return event.type in _DELTAS


def coalesce(events: list[Event]) -> list[Event]:
    """The same events with neighbouring pieces of one text joined; order and content stay."""
    joined: list[Event] = []
    pieces: list[str] = []
    for event in events:
        if joined and continues(joined[-1], event):
            pieces.append(_piece(event))
            continue
        _close(joined, pieces)
        joined.append(event)
    _close(joined, pieces)
    return joined


def continues(last: Event, event: Event) -> bool:
    """Whether an event is the next piece of the text that the event before it is a piece of."""
    if last.type != event.type:
        return False
    if key := _DELTAS.get(event.type):
        return bool(last.data[key] == event.data[key])
    return (
        _is_output(last) and _is_output(event) and last.data["value"]["call"] == event.data["value"]["call"]
    )


def _is_output(event: Event) -> bool:
    return event.type == "CUSTOM" and event.data["name"] == "tool.output"


def _piece(event: Event) -> str:
    return str(event.data["value"]["text"] if event.type == "CUSTOM" else event.data["delta"])


def _close(joined: list[Event], pieces: list[str]) -> None:
    if not pieces:
        return
    first = joined.pop()
    text = "".join([_piece(first), *pieces])
    if first.type == "CUSTOM":
        joined.append(custom("tool.output", {**first.data["value"], "text": text}))
    else:
        joined.append(Event(first.type, {**first.data, "delta": text}))
    pieces.clear()
