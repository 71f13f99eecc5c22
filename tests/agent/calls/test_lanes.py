from __future__ import annotations

from dcops.agent.calls.lanes import Lanes, Ticket
from dcops.agent.tools.tool import Lane

READ, WRITE, SHELL = Lane("file a", shared=True), Lane("file a"), Lane("shell")


def _admitted(*tickets: Ticket) -> list[bool]:
    return [ticket.admitted.is_set() for ticket in tickets]


def test_calls_that_need_nothing_in_common_run_side_by_side() -> None:
    lanes = Lanes(8)
    assert _admitted(*(lanes.enter(lane) for lane in (None, None, SHELL, WRITE))) == [True] * 4


def test_calls_of_one_lane_run_in_their_order() -> None:
    lanes = Lanes(8)
    tickets = [lanes.enter(SHELL) for _ in range(3)]
    assert _admitted(*tickets) == [True, False, False]
    lanes.leave(tickets[0])
    assert _admitted(*tickets) == [True, True, False]
    lanes.leave(tickets[1])
    assert _admitted(*tickets) == [True, True, True]


def test_readers_share_and_a_writer_waits_for_them_and_is_not_overtaken() -> None:
    lanes = Lanes(8)
    first, second, writer, late = (lanes.enter(lane) for lane in (READ, READ, WRITE, READ))
    assert _admitted(first, second, writer, late) == [True, True, False, False]
    lanes.leave(first)
    assert _admitted(writer, late) == [False, False]
    lanes.leave(second)
    assert _admitted(writer, late) == [True, False]
    lanes.leave(writer)
    assert _admitted(late) == [True]


def test_who_waits_for_a_lane_takes_no_slot() -> None:
    lanes = Lanes(2)
    first, waits, other, full = (lanes.enter(lane) for lane in (SHELL, SHELL, None, None))
    assert _admitted(first, waits, other, full) == [True, False, True, False]
    lanes.leave(other)
    assert _admitted(waits, full) == [False, True]
    lanes.leave(first)
    assert _admitted(waits) == [True]


def test_who_leaves_while_waiting_makes_way() -> None:
    lanes = Lanes(8)
    reader, writer, late = (lanes.enter(lane) for lane in (READ, WRITE, READ))
    lanes.leave(writer)
    assert _admitted(reader, late) == [True, True]
