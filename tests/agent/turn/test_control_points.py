"""All that a user can ask, wherever a turn may stand: nothing is lost, and the conversation can go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from dcops.agent.events import Fault
from dcops.agent.tools.registry import Registry
from dcops.agent.tools.tool import Lane, Tool, ToolContext, ToolResult

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Going = Callable[[], Any]


class Held(Tool):
    """Runs until it is let go, one at a time."""

    name = "held"
    description = "Waits."
    input_schema = {"type": "object", "additionalProperties": False}  # noqa: RUF012

    def __init__(self, go: asyncio.Event) -> None:
        self._go = go

    def lane(self, arguments: dict[str, Any], context: ToolContext) -> Lane:
        del arguments, context
        return Lane("the only one")

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> AsyncIterator[ToolResult]:
        del arguments, context
        await self._go.wait()
        yield ToolResult("held no more")


@dataclass
class Point:
    """Where a turn stands.

    Attributes:
        replies: What the model says; given the words for it, and what waits until the turn may go on.
        reached: The event that tells it, by its type or name.
        toggles: Other values than the defaults.
    """

    replies: Callable[[Any, Going], list[list[Any]]]
    reached: str = ""
    toggles: dict[str, Any] = field(default_factory=dict)


def _within(reply: list[Any], after: int, go: Going) -> list[Any]:
    return [*reply[:after], go, *reply[after:]]


def _calls(say: Any, *calls: str) -> list[Any]:
    return list(say.reply(*(say.call(call, "held") for call in calls), stop="tool_use"))


def _overloaded() -> Fault:
    return Fault("overloaded_error", "too much to do", passing=True, retry_after=0.1)


POINTS = {
    "before the first byte": Point(lambda say, go: [[go, *say.reply(say.text("well"))]]),
    "before a whole reply": Point(
        lambda say, go: [[go, *say.reply(say.text("well"))]], toggles={"use_unified_streaming": False}
    ),
    "in a text": Point(
        lambda say, go: [_within(say.reply(say.text("well then")), 3, go)], "TEXT_MESSAGE_CONTENT"
    ),
    "in the words of a call": Point(lambda say, go: [_within(_calls(say, "a"), 2, go)], "TOOL_CALL_START"),
    "before a call is confirmed": Point(lambda say, go: [_within(_calls(say, "a"), 4, go)], "TOOL_CALL_END"),
    "in the wait before another attempt": Point(lambda _say, _go: [[_overloaded()]], "retry"),
    "in the wait before the rest of a reply": Point(
        lambda say, _go: [[*say.reply(say.text("well then"))[:3], _overloaded()]], "retry"
    ),
    "in a buffer's delay": Point(
        lambda say, _go: [_calls(say, "a")],
        "tool.queued",
        {"enable_buffer_delay": True, "buffer_delay_ms": 100},
    ),
    "in a tool, with another one waiting for its lane": Point(
        lambda say, _go: [_calls(say, "a", "b")], "tool.started"
    ),
    "in a tool of a whole reply": Point(
        lambda say, _go: [_calls(say, "a", "b")], "tool.started", {"use_unified_streaming": False}
    ),
    "in a tool of a turn that ends with its results": Point(
        lambda say, _go: [_calls(say, "a")], "tool.started", {"use_response_chunking": False}
    ),
}

ASKED = [
    ["stop"],
    ["pause", "steer", "stop", "steer"],
    ["steer"],
    ["pause", "steer", "resume"],
]


def _told(house: Any) -> list[str]:
    return [event.data["name"] if event.type == "CUSTOM" else event.type for event in house.events]


def _said(house: Any) -> list[str]:
    return [block["text"] for message in house.messages for block in message["content"] if "text" in block]


@pytest.mark.parametrize("point", POINTS.values(), ids=POINTS)
@pytest.mark.parametrize("asked", ASKED, ids="-".join)
def test_what_is_asked_anywhere(
    house: Any, say: Any, wait_until: Any, point: Point, asked: list[str]
) -> None:
    added = [f"added {number}" for number, kind in enumerate(asked) if kind == "steer"]

    async def test() -> str:
        go = asyncio.Event()
        house.use(Registry([Held(go)]))
        house.toggles |= point.toggles
        replies = [*point.replies(say, go.wait), *[say.reply(say.text("done"))] * 4]
        turn, task = house.begin("go", *replies)
        await wait_until(
            lambda: house.model.requests and (not point.reached or point.reached in _told(house))
        )
        for number, kind in enumerate(asked):
            payload = {"input": f"added {number}"} if kind == "steer" else {}
            assert house.journal.request_control(house.session, kind, payload)
        if "stop" not in asked:
            go.set()
        await asyncio.wait_for(task, 10)
        return str(house.journal.turn(turn.id).state)

    assert asyncio.run(test()) == ("stopped" if "stop" in asked else "done")
    assert house.problems() == []
    begun, answered = (
        [event.data["toolCallId"] for event in house.events if event.type == f"TOOL_CALL_{what}"]
        for what in ("START", "RESULT")
    )
    assert sorted(begun) == sorted(answered)
    assert house.results().keys() <= set(answered), "a call that was cut is told, and not kept"
    assert [text for text in _said(house) if text.startswith("added")] == added
    told = _told(house)
    assert [name for name in told if name in {"RUN_FINISHED", "RUN_ERROR"}] == told[-1:]
    if added and "stop" not in asked:
        assert _said(house)[-1] == "done", "what was added is answered"
