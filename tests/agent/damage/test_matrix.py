"""Every stream, damaged in every way at every event: nothing runs twice, and the history stays acceptable."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .streams import COMMON, RARE, recorded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .streams import Events

FOLDER = os.environ.get("DCOPS_STREAMS_DIR")
STREAMS = sorted(Path(FOLDER).glob("*.sse")) if FOLDER else []
REQUESTS = 12
"""More than a turn takes whose replies all break off."""

FOLLOWED = 7
"""Every so many cases the conversation goes on after the damaged turn."""

pytestmark = pytest.mark.slow


OVER_A_SOCKET = ["thinking before calls", "blocks after a call", "no argument", "bad inputs"]


def _end(stop: str) -> Events:
    return [
        {"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ]


def _closing(events: Events) -> Events:
    """The ends of what is open, as a reply may have them that was cut."""
    open_blocks: dict[int, None] = {}
    for event in events:
        if event["type"] == "content_block_start":
            open_blocks[event["index"]] = None
        elif event["type"] == "content_block_stop":
            del open_blocks[event["index"]]
    return [{"type": "content_block_stop", "index": index} for index in open_blocks]


def _damaged(rig: Any, say: Any, events: Events) -> Iterator[tuple[str, int, Any]]:
    """Every damage at every boundary: its name, its place, and the reply."""
    reply = rig.reply
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    other = say.reply(say.text("other"), say.call("other", "probe", n=99), stop="tool_use")
    yield "nothing", len(events), reply(events)
    for n in range(len(events) + 1):
        cut = events[:n]
        closed = [*cut, *_closing(cut)]
        again = next((event["index"] for event in cut if event["type"] == "content_block_start"), 0)
        yield "cut", n, reply(cut)
        yield "error", n, reply([*cut, error])
        yield "max_tokens", n, reply([*cut, *_end("max_tokens")])
        yield "max_tokens, closed", n, reply([*closed, *_end("max_tokens")])
        yield "refusal", n, reply([*closed, *_end("refusal")])
        yield "another reply", n, reply([*cut, *other])
        yield (
            "a block again",
            n,
            reply([*cut, *say.block(again, say.call("again", "probe", n=98)), *_end("tool_use")]),
        )
        yield "stalled", n, reply(cut, "stalled")
        yield "reset", n, reply(cut, "reset")
        if n < len(events):
            yield "torn", n, reply(events[: n + 1], "torn")


def _tools(calls: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    """Tools that take these calls; a hammer there is not."""
    tools: dict[str, set[str]] = {"probe": {"n", "seconds", "lane", "fail", "raise"}}
    for name, arguments in calls:
        tools.setdefault(name, set()).update(json.loads(arguments))
    return {name: keys for name, keys in tools.items() if name != "hammer"}


async def _run(rig: Any, say: Any, events: Events, *, both: bool = True) -> None:
    """All cases of one stream, with tools that have effects and such that only read, `both` or in turn."""
    calls = rig.hear(rig.reply(events)).sealed
    tools = _tools(calls)
    rig.api.otherwise = lambda: rig.reply(say.reply(say.text("done")))
    kinds: list[Iterable[str]] = [(), tools] if calls else [()]
    for kind, readonly in enumerate(kinds):
        rig.use(tools, *readonly)
        for number, (name, place, damaged) in enumerate(_damaged(rig, say, events)):
            if not both and number % len(kinds) != kind:
                continue
            session = rig.session()
            told = await rig.turn(session, damaged)
            try:
                told.hold()
                assert told.turn.state == "done"
                assert rig.hear(damaged).stop or len(rig.api.requests) > 1, "what was cut is no reply"
                assert rig.effects == {call: n for call, n in told.proven().items() if call[0] in tools}
                if number % FOLLOWED == 0:
                    following = await rig.turn(session, rig.reply(say.reply(say.text("here"))))
                    following.hold()
                    assert following.turn.state == "done"
            except AssertionError as error:
                error.add_note(f"{name} at event {place} of {len(events)}; only read: {[*readonly]}")
                raise


def _renamed(events: Events, number: int) -> Events:
    """The same events; a call has another id each time that it is made."""
    return [
        {**event, "content_block": {**block, "id": f"{block['id']}_{number}"}}
        if "id" in (block := event.get("content_block", {}))
        else event
        for event in events
    ]


async def _never_better(rig: Any, say: Any, events: Events) -> None:
    """The same damage again and again, by calls of other ids: the turn ends by itself."""
    rig.use(_tools(rig.hear(rig.reply(events)).sealed))
    for name, place, damaged in _damaged(rig, say, events):
        rig.api.otherwise = lambda reply=damaged: replace(
            reply, events=_renamed(reply.events, len(rig.api.requests))
        )
        told = await rig.turn(rig.session(), max_requests_per_turn=REQUESTS)
        heard = rig.hear(damaged)
        try:
            told.hold()
            assert told.turn.state != "limited" or heard.stop == "tool_use"
        except AssertionError as error:
            error.add_note(f"{name} at event {place} of {len(events)}")
            raise


@pytest.mark.skipif(not STREAMS, reason="DCOPS_STREAMS_DIR names no folder of recorded streams")
@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_a_recorded_stream_damaged_at_every_event(rig: Any, say: Any, path: Path) -> None:
    for events in recorded(path):
        rig.loop.run_until_complete(_run(rig, say, events))


@pytest.mark.parametrize("name", COMMON)
def test_a_made_stream_damaged_at_every_event(rig: Any, say: Any, name: str) -> None:
    rig.loop.run_until_complete(_run(rig, say, COMMON[name](say)))


@pytest.mark.parametrize("name", RARE)
def test_a_rare_stream_damaged_at_every_event(rig: Any, say: Any, name: str) -> None:
    rig.loop.run_until_complete(_run(rig, say, RARE[name](say), both=False))


@pytest.mark.parametrize("name", OVER_A_SOCKET)
def test_a_stream_damaged_at_every_event_over_a_socket(wired: Any, say: Any, name: str) -> None:
    wired.loop.run_until_complete(_run(wired, say, COMMON[name](say), both=False))


@pytest.mark.parametrize("name", ["thinking before calls", "no argument"])
def test_a_model_that_never_gets_better_is_given_up(rig: Any, say: Any, name: str) -> None:
    rig.loop.run_until_complete(_never_better(rig, say, COMMON[name](say)))
