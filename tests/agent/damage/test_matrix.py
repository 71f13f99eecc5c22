"""Every stream, damaged in every way at every event: nothing runs twice, and the history stays acceptable."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dcops.agent.model.sse import Decoder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FOLDER = os.environ.get("DCOPS_STREAMS_DIR")
STREAMS = sorted(Path(FOLDER).glob("*.sse")) if FOLDER else []
FOLLOWED = 7
"""Every so many cases the conversation goes on after the damaged turn."""

Events = list[dict[str, Any]]

pytestmark = pytest.mark.slow


@cache
def _recorded(path: Path) -> list[Events]:
    """The replies of a file; some hold several, one after the other."""
    replies: list[Events] = []
    decoder = Decoder()
    for event in [*decoder.feed(path.read_bytes()), *decoder.end()]:
        if event["type"] == "message_start":
            replies.append([])
        replies[-1].append(event)
    return replies


def _synthetic(say: Any) -> dict[str, Events]:
    six = [say.call(f"c{n}", "probe", n=n) for n in range(6)]
    between = [block for call in six[:3] for block in (say.text(f"now {call['id']}"), call)]
    server = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}}
    found = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []}
    redacted = {"type": "redacted_thinking", "data": "xyz"}
    fallback = {"type": "fallback", "from": {"model": "a"}, "to": {"model": "b"}}
    return {
        "six calls": say.reply(*six, stop="tool_use"),
        "text between": say.reply(*between, stop="tool_use"),
        "thinking before calls": say.reply(say.thinking("hm hm"), redacted, *six[:2], stop="tool_use"),
        "thinking between calls": say.reply(
            say.thinking("one", "s1"), six[0], say.thinking("", "s2"), six[1], stop="tool_use"
        ),
        "server tools": say.reply(say.text("look"), server, found, say.text("found it")),
        "blocks after a call": say.reply(six[0], server, found, say.text("and"), six[1], stop="tool_use"),
        "server tool left open": say.reply(say.text("look"), server, stop="pause_turn"),
        "no argument": say.reply(say.raw("c", "probe", ""), stop="tool_use"),
        "no argument, then more": say.reply(say.raw("c", "probe", ""), six[1], stop="tool_use"),
        "bad inputs": say.reply(
            say.raw("a", "probe", '{"n": 1'), say.raw("b", "probe", "[1]"), six[0], stop="tool_use"
        ),
        "another model goes on": say.reply(six[0], fallback, six[1], say.text("x"), stop="tool_use"),
        "unknown tool": say.reply(say.call("c", "hammer", n=1), six[1], stop="tool_use"),
        "calls, but no tool_use": say.reply(six[0], six[1], stop="end_turn"),
        "tool_use, but no call": say.reply(say.text("so"), stop="tool_use"),
        "tools that fail": say.reply(
            say.call("a", "probe", fail=True),
            say.call("b", "probe", **{"raise": True}),
            six[1],
            stop="tool_use",
        ),
        "one after the other": say.reply(
            *(say.call(f"c{n}", "probe", n=n, lane="one", seconds=1) for n in range(3)), stop="tool_use"
        ),
        "large input": say.reply(
            say.raw("c", "probe", '{"text": "' + "x" * 20_000 + '"}', size=500), stop="tool_use"
        ),
    }


SYNTHETIC = [
    "six calls",
    "text between",
    "thinking before calls",
    "thinking between calls",
    "server tools",
    "blocks after a call",
    "server tool left open",
    "no argument",
    "no argument, then more",
    "bad inputs",
    "another model goes on",
    "unknown tool",
    "calls, but no tool_use",
    "tool_use, but no call",
    "tools that fail",
    "one after the other",
    "large input",
]


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


async def _run(rig: Any, say: Any, events: Events) -> None:
    """All cases of one stream: once with tools that have effects, and once with such that only read."""
    calls = rig.hear(rig.reply(events)).sealed
    tools = _tools(calls)
    rig.api.otherwise = lambda: rig.reply(say.reply(say.text("done")))
    for readonly in ((), tools) if calls else ((),):
        rig.use(tools, *readonly)
        for number, (name, place, damaged) in enumerate(_damaged(rig, say, events)):
            session = rig.session()
            told = await rig.turn(session, damaged)
            try:
                told.hold()
                assert told.turn.state == "done"
                assert rig.effects == {call: n for call, n in told.proven().items() if call[0] in tools}
                if number % FOLLOWED == 0:
                    following = await rig.turn(session, rig.reply(say.reply(say.text("here"))))
                    following.hold()
                    assert following.turn.state == "done"
            except AssertionError as error:
                error.add_note(f"{name} at event {place} of {len(events)}; only read: {[*readonly]}")
                raise


@pytest.mark.skipif(not STREAMS, reason="DCOPS_STREAMS_DIR names no folder of recorded streams")
@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_a_recorded_stream_damaged_at_every_event(rig: Any, say: Any, path: Path) -> None:
    for events in _recorded(path):
        rig.loop.run_until_complete(_run(rig, say, events))


@pytest.mark.parametrize("name", SYNTHETIC)
def test_a_made_stream_damaged_at_every_event(rig: Any, say: Any, name: str) -> None:
    rig.loop.run_until_complete(_run(rig, say, _synthetic(say)[name]))
