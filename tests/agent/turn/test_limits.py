"""What a turn may use up: each limit ends it with its reason, its results kept, its history sendable."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from dcops.agent.journal.records import Tokens
from dcops.agent.turn.limits import LimitReached, Limits

if TYPE_CHECKING:
    from tests.agent.conftest import House, Say

NONE = {
    "max_requests_per_turn": 0,
    "max_turn_seconds": 0,
    "max_output_tokens_per_turn": 0,
    "daily_token_budget": 0,
}


def limited(house: House) -> tuple[str, dict[str, Any]]:
    """The stop reason of the last turn, and what was told of its limit."""
    (told,) = house.customs("turn.limited")
    last = house.events[-1]
    assert last.type == "RUN_FINISHED"
    assert last.data["outcome"] == {"type": "success"}
    return last.data["result"]["stop_reason"], told


def test_nothing_is_limited_by_zeros() -> None:
    limits = Limits(NONE, 0.0)
    limits.requests = limits.output_tokens = 10**9
    limits.check(10.0**9, 10**12)
    assert limits.seconds is None


@pytest.mark.parametrize(
    ("toggle", "limit"),
    [
        ("max_requests_per_turn", "max_requests"),
        ("max_turn_seconds", "max_seconds"),
        ("max_output_tokens_per_turn", "max_output_tokens"),
        ("daily_token_budget", "daily_token_budget"),
    ],
)
def test_each_is_reached_at_its_value_and_names_its_toggle(toggle: str, limit: str) -> None:
    limits = Limits({**NONE, toggle: 7}, 100.0)

    def check(used: int) -> None:
        limits.requests = used if limit == "max_requests" else 0
        limits.output_tokens = used if limit == "max_output_tokens" else 0
        now = 100.0 + (used if limit == "max_seconds" else 0)
        limits.check(now, used if limit == "daily_token_budget" else 0)

    check(6)
    for used in (7, 8):
        with pytest.raises(LimitReached, match=toggle) as reached:
            check(used)
        assert (reached.value.limit, reached.value.value) == (limit, 7)


def test_requests_are_counted_and_the_last_results_kept(house: House, say: type[Say]) -> None:
    house.toggles["max_requests_per_turn"] = 2
    replies = [say.reply(say.call(f"c{n}", "bash", command=f"echo {n}"), stop="tool_use") for n in range(3)]
    turn = asyncio.run(house.turn("go", *replies))
    assert turn.state == "limited"
    assert limited(house) == ("max_requests", {"limit": "max_requests", "value": 2})
    assert len(house.model.requests) == 2
    assert {call: result["content"][0]["text"] for call, result in house.results().items()} == {
        "c0": "0\n",
        "c1": "1\n",
    }
    assert house.problems() == []
    told = house.messages[-1]["content"][-1]["text"]
    assert "max_requests_per_turn" in told
    assert asyncio.run(house.turn("and now?", say.reply(say.text("done")))).state == "done"


def test_a_turn_of_one_request_ends_as_the_model_ends_it(house: House, say: type[Say]) -> None:
    house.toggles["max_requests_per_turn"] = 1
    assert asyncio.run(house.turn("go", say.reply(say.text("done")))).state == "done"
    assert house.customs("turn.limited") == []


def test_tokens_written_are_counted_over_the_replies(house: House, say: type[Say]) -> None:
    house.toggles["max_output_tokens_per_turn"] = 18  # a reply of the played model has 9
    replies = [say.reply(say.call(f"c{n}", "bash", command="true"), stop="tool_use") for n in range(3)]
    turn = asyncio.run(house.turn("go", *replies))
    assert turn.state == "limited"
    assert limited(house)[0] == "max_output_tokens"
    assert len(house.model.requests) == 2
    assert house.problems() == []


def test_the_tokens_of_the_day_end_a_running_turn(house: House, say: type[Say]) -> None:
    house.toggles["daily_token_budget"] = 1000
    house.journal.count_tokens(Tokens(input=900, cache_read=80))

    async def elsewhere() -> None:
        house.journal.count_tokens(Tokens(output=20))

    call = say.reply(say.call("c", "bash", command="echo kept"), stop="tool_use")
    turn = asyncio.run(house.turn("go", [*call[:2], elsewhere, *call[2:]]))
    assert turn.state == "limited"
    assert limited(house) == ("daily_token_budget", {"limit": "daily_token_budget", "value": 1000})
    assert house.results()["c"]["content"][0]["text"] == "kept\n"
    assert house.problems() == []


def over(house: House) -> None:
    """Lets the turn's seconds be over now."""
    (run,) = house.runner._runs.values()
    timer = run._timer
    assert timer is not None
    timer._run()  # as the loop would, an hour later


def test_its_seconds_end_a_turn_inside_a_tool(house: House, say: type[Say], wait_until: Any) -> None:
    async def work() -> str:
        call = say.call("slow", "bash", command="echo begun; sleep 60")
        turn, task = house.begin("go", say.reply(say.text("Now."), call, stop="tool_use"))
        await wait_until(lambda: house.customs("tool.output"))
        over(house)
        await asyncio.wait_for(task, 10)
        ended = house.journal.turn(turn.id)
        assert ended is not None
        await house.runner.close()
        return ended.state

    assert asyncio.run(work()) == "limited"
    assert limited(house) == ("max_seconds", {"limit": "max_seconds", "value": 3600})
    result = house.results()["slow"]
    assert result["is_error"]
    assert "Interrupted while running" in result["content"][0]["text"]
    assert "max_turn_seconds" in result["content"][0]["text"]
    assert "begun" in result["content"][0]["text"]
    assert house.problems() == []


def test_its_seconds_end_a_turn_inside_a_stream(house: House, say: type[Say]) -> None:
    async def work() -> str:
        begun = asyncio.Event()

        async def hang() -> None:
            begun.set()
            await asyncio.sleep(60)

        reply = say.reply(say.text("one two three"))
        turn, task = house.begin("go", [*reply[:3], hang])
        await asyncio.wait_for(begun.wait(), 10)
        over(house)
        await asyncio.wait_for(task, 10)
        ended = house.journal.turn(turn.id)
        assert ended is not None
        return ended.state

    assert asyncio.run(work()) == "limited"
    assert limited(house)[0] == "max_seconds"
    assert house.messages[1] == {"role": "assistant", "content": [{"type": "text", "text": "one "}]}
    assert house.problems() == []
    assert house.model.closed == 1


@pytest.mark.slow
def test_the_clock_ends_a_turn(house: House, say: type[Say]) -> None:
    house.toggles["max_turn_seconds"] = 1
    call = say.call("slow", "bash", command="sleep 60")
    assert asyncio.run(house.turn("go", say.reply(call, stop="tool_use"))).state == "limited"
    assert limited(house) == ("max_seconds", {"limit": "max_seconds", "value": 1})


def test_a_reply_is_counted_once_with_its_last_figures(house: House, say: type[Say]) -> None:
    reply = say.reply(say.text("hello"))
    usage = {"output_tokens": 40, "cache_read_input_tokens": 7, "cache_creation_input_tokens": 5}
    reply[-2]["usage"] = {**usage, "input_tokens": 11}
    asyncio.run(house.turn("go", reply))
    assert house.journal.tokens_today() == Tokens(11, 40, 7, 5)
    assert house.customs("usage") == [{**usage, "input_tokens": 11}]


def test_a_cut_reply_is_counted_with_what_came(house: House, say: type[Say]) -> None:
    async def work() -> None:
        reply = say.reply(say.text("one two"))

        async def stop() -> None:
            house.journal.request_control(house.session, "stop")
            await asyncio.sleep(60)

        await house.turn("go", [*reply[:3], stop])

    asyncio.run(work())
    assert house.journal.tokens_today() == Tokens(3, 1)
    assert house.customs("usage") == [{"input_tokens": 3, "output_tokens": 1}]


def test_counters_of_a_damaged_stream_count_as_none() -> None:
    damaged = {"input_tokens": None, "output_tokens": "9", "cache_read_input_tokens": 2}
    assert Tokens.of(damaged) == Tokens(cache_read=2)
    assert Tokens.of({"input_tokens": -5, "output_tokens": (1 << 64) - 1}) == Tokens()
