from __future__ import annotations

from typing import Any

import pytest

from dcops.scripted_model.player import Cut, Gate, Pause, Send, play
from dcops.scripted_model.script_reader import parse_script
from dcops.scripted_model.sse import frame, parse, split

FRAMES = [
    frame({"type": "message_start"}),
    frame({"type": "content_block_delta", "n": 1}),
    frame({"type": "content_block_delta", "n": 2}),
    frame({"type": "message_stop"}),
]
WIRE = b"".join(FRAMES)


def steps(**fields: Any) -> list[Any]:
    (reply,) = parse_script({"replies": [{"sse": WIRE.decode()} | fields]}).replies
    return list(play(reply, FRAMES))


def sent(played: list[Any]) -> bytes:
    return b"".join(step.data for step in played if isinstance(step, Send))


def test_each_event_is_one_write() -> None:
    assert steps() == [Send(one) for one in FRAMES]


def test_the_delay_comes_before_each_delta() -> None:
    played = steps(delay=0.5, first_delay=2)
    assert played == [
        Pause(2),
        Send(FRAMES[0]),
        Pause(0.5),
        Send(FRAMES[1]),
        Pause(0.5),
        Send(FRAMES[2]),
        Send(FRAMES[3]),
    ]


@pytest.mark.parametrize("sizes", [1, 7, 10_000, [1, 2, 3]])
def test_any_chunking_carries_the_same_bytes(sizes: Any) -> None:
    played = steps(bytes=sizes)
    assert sent(played) == WIRE
    assert len(played[0].data) == min(sizes if isinstance(sizes, int) else sizes[0], len(WIRE))


def test_a_cut_after_events_or_bytes() -> None:
    assert steps(disconnect_after=2) == [Send(FRAMES[0]), Send(FRAMES[1]), Cut()]
    assert steps(disconnect_after={"bytes": 3}) == [Send(FRAMES[0][:3]), Cut()]
    assert steps(disconnect_after=0) == [Cut()]
    assert steps(disconnect_after=99)[-2:] == [Send(FRAMES[3]), Cut()]


def test_an_error_event_ends_the_stream() -> None:
    played = steps(error_after=1)
    assert parse(split(sent(played[1:]))) == [
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    ]
    assert played[0] == Send(FRAMES[0])


def test_holds_stand_where_they_are_put_and_before_a_cut_at_the_same_place() -> None:
    played = steps(
        holds=[{"after": 3, "gate": "late"}, {"after": 1, "seconds": 4}],
        disconnect_after=3,
    )
    assert played == [Send(FRAMES[0]), Pause(4), Send(FRAMES[1]), Send(FRAMES[2]), Gate("late"), Cut()]


def test_a_gate_within_a_chunk_splits_it() -> None:
    offset = len(FRAMES[0])
    played = steps(bytes=offset + 5, stall_after=1, gate="g")
    assert played[:3] == [Send(WIRE[:offset]), Gate("g"), Send(WIRE[offset : offset + 5])]
    assert sent(played) == WIRE
