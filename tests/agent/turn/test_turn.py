"""Turns against a played model: what is told, what is kept, and that the API would go on from it."""

from __future__ import annotations

import asyncio
import gc
import os
import sqlite3
import time
import weakref
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from dcops.agent import events
from dcops.agent.events import Fault, coalesce
from dcops.agent.tools.bash import Bash
from dcops.agent.tools.files import Files
from dcops.agent.tools.registry import Registry
from dcops.agent.tools.tool import Effect, Lane, Tool, ToolContext, ToolProgress, ToolResult
from dcops.agent.turn import attempts
from dcops.agent.turn.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable


class Probe(Tool):
    """A tool that notes when it runs, and waits when it is told to."""

    description = "Probe."
    input_schema = {  # noqa: RUF012
        "type": "object",
        "properties": {"n": {"type": "string"}, "seconds": {"type": "number"}, "fail": {"type": "boolean"}},
        "additionalProperties": False,
    }

    def __init__(self, name: str = "probe", effect: Effect = Effect.EFFECTS, lane: str | None = None) -> None:
        self.name = name
        self.ran: list[str] = []
        self.began: dict[str, float] = {}
        self.readonly = effect is Effect.READONLY
        self._lane = lane

    def lane(self, arguments: dict[str, Any], context: ToolContext) -> Lane | None:
        del arguments, context
        return Lane(self._lane) if self._lane else None

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> AsyncGenerator[Any, None]:
        del context
        self.ran.append(arguments.get("n", ""))
        self.began[arguments.get("n", "")] = time.monotonic()
        yield ToolProgress(1, 2)
        await asyncio.sleep(arguments.get("seconds", 0))
        if arguments.get("fail"):
            raise RuntimeError("broken tool")
        yield ToolResult(f"ran {arguments.get('n', '')}")


def _names(house: Any) -> list[str]:
    return [e.data["name"] if e.type == "CUSTOM" else e.type for e in coalesce(house.events)]


def test_an_answer_is_told_and_kept(house: Any, say: Any) -> None:
    reply = say.reply(say.thinking("hm"), say.text("hello there"))
    turn = asyncio.run(house.turn("hi", reply))
    assert turn.state == "done"
    assert _names(house) == [
        "RUN_STARTED",
        "REASONING_START",
        "REASONING_MESSAGE_START",
        "REASONING_MESSAGE_CONTENT",
        "REASONING_MESSAGE_END",
        "REASONING_END",
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "usage",
        "RUN_FINISHED",
    ]
    assert house.messages[1]["content"] == [say.thinking("hm"), say.text("hello there")]
    assert house.problems() == []


def test_calls_run_and_their_results_go_back(house: Any, say: Any) -> None:
    (house.workspace / "a.txt").write_text("apple\n")
    calls = [
        say.call("c1", "bash", command="echo one"),
        say.call("c2", "files", command="view", path="a.txt"),
    ]
    turn = asyncio.run(house.turn("go", say.reply(*calls, stop="tool_use"), say.reply(say.text("done"))))
    assert turn.state == "done"
    results = house.results()
    assert results["c1"]["content"][0]["text"] == "one\n"
    assert "apple" in results["c2"]["content"][0]["text"]
    assert [block["tool_use_id"] for block in house.messages[2]["content"]] == ["c1", "c2"]
    assert house.model.messages(1) == house.messages[:3]
    assert house.customs("tool.output") == [{"call": "c1", "text": "one\n"}]
    assert [value["status"] for value in house.customs("tool.finished")] == ["done", "done"]
    assert house.problems() == []


def test_a_second_turn_sees_the_first(house: Any, say: Any) -> None:
    async def both() -> None:
        await house.turn("one", say.reply(say.text("first")))
        await house.turn("two", say.reply(say.text("second")))

    asyncio.run(both())
    texts = [message["content"][0]["text"] for message in house.model.messages(1)]
    assert texts == ["one", "first", "two"]


def test_toggles_decide_what_is_asked_and_told(house: Any, say: Any) -> None:
    house.toggles |= {"use_streaming_bash": False, "use_streaming_thinking": False, "max_tokens": 77}
    reply = say.reply(say.thinking("hm"), say.call("c", "bash", command="echo x"), stop="tool_use")
    asyncio.run(house.turn("go", reply, say.reply(say.text("done"))))
    assert "tool.output" not in _names(house)
    assert not any(name.startswith("REASONING") for name in _names(house))
    assert house.results()["c"]["content"][0]["text"] == "x\n"
    assert house.model.requests[0]["max_tokens"] == 77
    assert house.model.requests[0]["thinking"] == {"type": "disabled"}
    assert house.messages[1]["content"][0] == say.thinking("hm")  # what was said is kept all the same


def test_a_call_starts_while_the_reply_is_still_coming(house: Any, say: Any, wait_until: Any) -> None:
    async def test() -> None:
        probe = Probe()
        house.use(Registry([probe]))
        reply = say.reply(say.call("c", "probe", n="a"), say.text("after it"), stop="tool_use")
        started = 1 + next(n for n, event in enumerate(reply) if event.get("index") == 1)
        reply.insert(started, lambda: wait_until(lambda: probe.ran == ["a"]))
        assert (await house.turn("go", reply, say.reply(say.text("done")))).state == "done"

    asyncio.run(test())


def test_the_reader_does_not_wait_for_tools_and_tools_not_for_each_other(house: Any, say: Any) -> None:
    probe = Probe()
    house.use(Registry([probe]))
    calls = [say.call(f"c{n}", "probe", n=str(n), seconds=0.3) for n in range(6)]
    asyncio.run(house.turn("go", say.reply(*calls, stop="tool_use"), say.reply(say.text("done"))))
    told = [event.data["name"] for event in house.events if event.type == "CUSTOM"]
    assert told.index("tool.finished") > max(n for n, name in enumerate(told) if name == "tool.started")
    assert len(house.customs("tool.progress")) == 6


def test_calls_on_one_lane_run_one_after_the_other_in_order(house: Any, say: Any) -> None:
    probe = Probe(lane="screen")
    house.use(Registry([probe]))
    calls = [say.call(f"c{n}", "probe", n=str(n), seconds=0.05) for n in range(4)]
    asyncio.run(house.turn("go", say.reply(*calls, stop="tool_use"), say.reply(say.text("done"))))
    assert probe.ran == list("0123")
    times = [probe.began[n] for n in "0123"]
    assert all(later - earlier >= 0.05 for earlier, later in pairwise(times))


def test_a_failing_call_is_told_and_harms_no_other(house: Any, say: Any) -> None:
    house.use(Registry([Probe()]))
    calls = [say.call("bad", "probe", fail=True), say.call("good", "probe", n="g", seconds=0.05)]
    turn = asyncio.run(house.turn("go", say.reply(*calls, stop="tool_use"), say.reply(say.text("done"))))
    assert turn.state == "done"
    assert house.results()["bad"]["is_error"]
    assert "RuntimeError: broken tool" in house.results()["bad"]["content"][0]["text"]
    assert house.results()["good"]["content"][0]["text"] == "ran g"


def test_what_is_no_valid_call_is_answered_and_the_turn_goes_on(house: Any, say: Any) -> None:
    calls = [
        say.call("unknown", "teleport", to="moon"),
        say.call("wrong", "bash", cmd="ls"),
        say.raw("cut", "bash", '{"command": "rm -r'),
        say.raw("two", "bash", '{"command": "a"}{"command": "b"}'),
    ]
    turn = asyncio.run(house.turn("go", say.reply(*calls, stop="tool_use"), say.reply(say.text("done"))))
    assert turn.state == "done"
    results = house.results()
    assert list(results) == ["unknown", "wrong", "cut", "two"]
    assert all(result["is_error"] for result in results.values())
    assert house.messages[1]["content"][2]["input"] == {"INVALID_JSON": '{"command": "rm -r'}
    assert house.journal.calls(turn) == {}
    assert house.problems() == []


def test_a_call_id_said_twice_runs_once_and_its_reply_is_asked_for_again(house: Any, say: Any) -> None:
    probe = Probe()
    house.use(Registry([probe]))
    reply = say.reply(say.call("c", "probe", n="a"), stop="tool_use")
    turn = asyncio.run(house.turn("go", reply, reply, say.reply(say.text("done"))))
    assert turn.state == "done"
    assert probe.ran == ["a"]
    assert "twice" in house.customs("retry")[0]["reason"]
    assert house.problems() == []
    assert len(house.customs("tool.started")) == 1


def test_a_call_id_is_free_again_if_its_call_was_cut_and_is_not_in_the_history(house: Any, say: Any) -> None:
    house.use(Registry([Probe()]))
    reply = say.reply(say.call("c", "probe", n="a"), stop="tool_use")
    turn = asyncio.run(house.turn("go", reply[:3], reply, say.reply(say.text("done"))))
    assert turn.state == "done"
    assert house.results()["c"]["content"][0]["text"] == "ran a"
    assert house.problems() == []


@pytest.mark.parametrize("stop", ["end_turn", "stop_sequence", "something_new"])
def test_an_unknown_or_plain_stop_ends_the_turn_with_its_name(house: Any, say: Any, stop: str) -> None:
    turn = asyncio.run(house.turn("hi", say.reply(say.text("hello"), stop=stop)))
    assert turn.state == "done"
    assert house.events[-1].data["result"] == {"stop_reason": stop}


def test_a_call_that_the_stop_reason_does_not_confirm_is_not_run(house: Any, say: Any) -> None:
    turn = asyncio.run(house.turn("hi", say.reply(say.call("c", "bash", command="touch x"), stop="end_turn")))
    assert turn.state == "done"
    assert not (house.workspace / "x").exists()
    assert "Not executed" in house.results()["c"]["content"][0]["text"]
    assert house.problems() == []


@pytest.mark.parametrize("effect", list(Effect))
@pytest.mark.parametrize("closed", [True, False])
def test_a_call_cut_before_its_first_byte_is_not_a_call_without_arguments(
    house: Any, say: Any, effect: Effect, closed: bool
) -> None:
    probe = Probe(effect=effect)
    house.use(Registry([probe]))
    cut = say.reply(say.raw("c", "probe", ""), stop="max_tokens")
    cut = [event for event in cut if event["type"] != "content_block_delta"]
    if not closed:
        cut = [event for event in cut if event["type"] != "content_block_stop"]
    asyncio.run(house.turn("go", cut, say.reply(say.text("done"))))
    assert probe.ran == []
    assert "Not executed" in house.results()["c"]["content"][0]["text"]
    whole = say.reply(say.raw("c2", "probe", ""), stop="tool_use")
    asyncio.run(house.turn("go", whole, say.reply(say.text("done"))))
    assert probe.ran == [""]


def test_max_tokens_keeps_what_ran_and_says_what_did_not(house: Any, say: Any) -> None:
    calls = [say.call("ran", "bash", command="echo 1"), say.call("cut", "bash", command="touch x")]
    cut = say.reply(say.thinking("hm"), *calls, stop="max_tokens")
    position = max(n for n, event in enumerate(cut) if event["type"] == "content_block_stop")
    del cut[position - 1 : position + 1]  # neither complete nor closed
    turn = asyncio.run(house.turn("go", cut, say.reply(say.text("done"))))
    assert turn.state == "done"
    results = house.results()
    assert results["ran"]["content"][0]["text"] == "1\n"
    assert "cut off by max_tokens" in results["cut"]["content"][0]["text"]
    assert not (house.workspace / "x").exists()
    assert house.messages[1]["content"][2]["input"] == {}
    assert house.problems() == []


def test_max_tokens_over_and_over_ends_the_turn(house: Any, say: Any) -> None:
    def cut(call: str) -> list[Any]:
        return list(say.reply(say.call(call, "bash", command="true"), stop="max_tokens"))

    turn = asyncio.run(house.turn("go", *(cut(f"c{n}") for n in range(9))))
    assert turn.state == "done"
    assert len(house.model.requests) == 3
    assert house.problems() == []


def test_max_tokens_in_a_text_ends_the_turn(house: Any, say: Any) -> None:
    cut = say.reply(say.text("so far so"), stop="max_tokens")
    del cut[-3]  # not closed
    assert asyncio.run(house.turn("go", cut)).state == "done"
    assert house.messages[1]["content"] == [say.text("so far so")]
    assert "TEXT_MESSAGE_END" in _names(house)


def test_a_refusal_leaves_no_reply_behind(house: Any, say: Any) -> None:
    assert asyncio.run(house.turn("go", say.reply(say.text("I will"), stop="refusal"))).state == "done"
    assert house.events[-1].data["result"] == {"stop_reason": "refusal"}
    assert [message["role"] for message in house.messages] == ["user"]
    assert house.problems() == []


def test_a_refusal_after_a_call_ran_keeps_the_call(house: Any, say: Any) -> None:
    reply = say.reply(say.call("c", "bash", command="echo 1"), say.text("no"), stop="refusal")
    asyncio.run(house.turn("go", reply))
    assert house.results()["c"]["content"][0]["text"] == "1\n"
    assert house.problems() == []


def test_a_pause_is_resumed_with_the_same_content(house: Any, say: Any) -> None:
    search = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}}
    turn = asyncio.run(house.turn("go", say.reply(search, stop="pause_turn"), say.reply(say.text("found"))))
    assert turn.state == "done"
    assert house.model.messages(1)[-1] == {"role": "assistant", "content": [search]}


def test_an_empty_reply_leaves_nothing_behind(house: Any, say: Any) -> None:
    assert asyncio.run(house.turn("go", say.reply())).state == "done"
    assert len(house.messages) == 1
    assert house.problems() == []


# What breaks off


def test_a_fault_before_the_reply_that_stays_fails_the_turn(house: Any) -> None:
    fault = [Fault("overloaded_error", "Overloaded")]
    turn = asyncio.run(house.turn("hi", *[fault] * 9))
    assert turn.state == "failed"
    assert house.events[-1].data == {"message": "Overloaded", "code": "overloaded_error"}
    assert len(house.model.requests) == 1 + attempts.RETRIES
    assert house.problems() == []


def test_a_fault_of_the_agent_itself_fails_the_turn_and_says_so(house: Any) -> None:
    turn = asyncio.run(house.turn("hi", [ZeroDivisionError("oops")]))
    assert turn.state == "failed"
    assert house.events[-1].data["code"] == "internal_error"
    assert house.problems() == []


def _story(say: Any) -> list[Any]:
    return list(
        say.reply(
            say.thinking("let me see"),
            say.text("I look and act"),
            say.call("look", "look", n="look"),
            say.call("act", "act", n="act"),
            say.text("and once more"),
            say.call("last", "act", n="last"),
            stop="tool_use",
        )
    )


@pytest.mark.parametrize("damage", ["end", "error", "fault", "splice"])
def test_a_reply_cut_anywhere_leaves_a_valid_history(house: Any, say: Any, damage: str) -> None:
    """At every event boundary: nothing runs twice or unproven, each call has one result."""
    story = _story(say)
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    tails: dict[str, list[Any]] = {
        "end": [],
        "error": [error],
        "fault": [Fault("stream_broken", "reset by peer", mid_stream=True)],
        "splice": story,
    }

    async def cut_at(position: int) -> None:
        look, act = Probe("look", Effect.READONLY), Probe("act")
        house.use(Registry([look, act]))
        house.session = house.journal.create_session()
        broken = [*story[:position], *tails[damage]]
        turn = await house.turn("go", broken, say.reply(say.text("x")), say.reply(say.text("done")))
        if damage == "splice" and position == 0:
            return
        assert turn.state == "done", position
        said = position == len(story) - 1  # all but the end of the stream
        assert len(house.customs("retry")) == (not said), position
        assert len(house.customs("reply.cut")) == (position > 1 and not said), position
        assert house.problems() == [], position
        told = [block["id"] for m in house.messages for block in m["content"] if block["type"] == "tool_use"]
        assert sorted(house.results()) == sorted(told), position
        ran = look.ran + act.ran
        assert len(ran) == len(set(ran)), position
        assert set(ran) <= set(told), position
        sealed = {event["index"] for event in story[:position] if event["type"] == "content_block_stop"}
        begun = {event["index"] for event in story[:position] if event["type"] == "content_block_start"}
        assert ("look" in ran) == (2 in sealed), position
        assert ("act" in ran) == (4 in begun), position
        assert ("last" in ran) == (position >= len(story) - 1), position
        assert house.events[-1].type == "RUN_FINISHED"
        _well_formed(house)

    async def cut_everywhere() -> None:
        for position in range(len(story)):
            await cut_at(position)

    asyncio.run(cut_everywhere())


def _well_formed(house: Any) -> None:
    """Whatever began has ended, and every call was answered once."""
    names = [event.type for event in house.events]
    for kind in ("TEXT_MESSAGE", "REASONING_MESSAGE", "TOOL_CALL"):
        assert names.count(f"{kind}_START") == names.count(f"{kind}_END")
    started = [event.data["toolCallId"] for event in house.events if event.type == "TOOL_CALL_START"]
    answered = [event.data["toolCallId"] for event in house.events if event.type == "TOOL_CALL_RESULT"]
    assert sorted(answered) == sorted(started)


def test_a_text_cut_in_the_middle_is_kept_as_far_as_it_was_seen(house: Any, say: Any) -> None:
    asyncio.run(house.turn("hi", say.reply(say.text("one two three"))[:4], say.reply(say.text("three"))))
    assert house.messages[1]["content"] == [say.text("one two ")]
    assert house.messages[2]["content"][0]["text"].startswith("[Your reply was cut off here by a fault: ")
    assert house.model.messages(1) == house.messages[:3]
    assert house.messages[3]["content"] == [say.text("three")]


# Control


def _forever() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


async def _stop(house: Any, task: asyncio.Task[None]) -> None:
    assert house.journal.request_control(house.session, "stop")
    async with asyncio.timeout(10):  # what it stops would take longer; how long it takes is benchmarked
        await task


@pytest.mark.parametrize("position", [0, 1, 3, 8, 14])
def test_a_stop_while_the_model_writes_is_quick_and_clean(
    house: Any, say: Any, wait_until: Any, position: int
) -> None:
    async def test() -> None:
        house.use(Registry([Probe("look", Effect.READONLY), Probe("act")]))
        turn, task = house.begin("go", [*_story(say)[:position], _forever])
        await wait_until(lambda: house.model.requests)
        await _stop(house, task)
        assert house.journal.turn(turn.id).state == "stopped"
        assert house.model.closed == 1

    asyncio.run(test())
    assert house.events[-1].data["outcome"] == {"type": "cancelled"}
    assert house.problems() == []
    _well_formed(house)


def test_a_stop_while_tools_run_kills_them_and_says_what_became_of_them(
    house: Any, say: Any, wait_until: Any
) -> None:
    async def test() -> None:
        calls = [
            say.call("done", "files", command="view", path="."),
            say.call("runs", "bash", command="echo started; sleep 100; touch x"),
            say.call("waits", "bash", command="touch y"),
        ]
        _, task = house.begin("go", say.reply(*calls, stop="tool_use"))
        await wait_until(lambda: house.customs("tool.output") and len(house.customs("tool.finished")) == 1)
        await _stop(house, task)

    asyncio.run(test())
    texts = {call: result["content"][0]["text"] for call, result in house.results().items()}
    assert "empty" in texts["done"]
    assert texts["runs"].startswith("Interrupted while running: stopped by the user. Its effects may have")
    assert texts["runs"].endswith("started\n")
    assert texts["waits"] == "Not executed: stopped by the user."
    assert list(house.workspace.iterdir()) == []
    statuses = {value["call"]: value["status"] for value in house.customs("tool.finished")}
    assert statuses == {"done": "done", "runs": "cancelled", "waits": "not_run"}
    assert house.problems() == []


def test_after_a_stop_the_conversation_goes_on(house: Any, say: Any, wait_until: Any) -> None:
    async def test() -> None:
        _, task = house.begin("go", [*_story(say)[:7], _forever])
        await wait_until(lambda: house.model.requests)
        await _stop(house, task)
        turn = await house.turn("go on", say.reply(say.text("gladly")))
        assert turn.state == "done"

    asyncio.run(test())


def test_a_paused_turn_starts_nothing_until_it_is_resumed(house: Any, say: Any, wait_until: Any) -> None:
    async def test() -> None:
        probe = Probe()
        house.use(Registry([probe]))
        reply = say.reply(say.call("c", "probe", n="a"), stop="tool_use")
        paused = asyncio.Event()
        turn, task = house.begin("go", [*reply[:2], paused.wait, *reply[2:]], say.reply(say.text("done")))
        await wait_until(lambda: house.model.requests)
        house.journal.request_control(house.session, "pause")
        await wait_until(lambda: house.customs("paused"))
        paused.set()
        await wait_until(lambda: house.customs("tool.queued"))
        await asyncio.sleep(0.05)
        assert probe.ran == []
        house.journal.request_control(house.session, "resume")
        await task
        assert house.journal.turn(turn.id).state == "done"
        assert house.customs("paused") == [{"paused": True}, {"paused": False}]

    asyncio.run(test())


def test_a_paused_turn_can_be_stopped(house: Any, say: Any, wait_until: Any) -> None:
    async def test() -> None:
        _, task = house.begin("go", [_forever, *say.reply()])
        house.journal.request_control(house.session, "pause")
        await wait_until(lambda: house.customs("paused"))
        await _stop(house, task)

    asyncio.run(test())


def test_what_is_steered_goes_along_with_the_next_results(house: Any, say: Any, wait_until: Any) -> None:
    async def test() -> None:
        house.use(Registry([Probe()]))
        reply = say.reply(say.call("c", "probe", n="a", seconds=0.2), stop="tool_use")
        _, task = house.begin("go", reply, say.reply(say.text("done")))
        await wait_until(lambda: house.customs("tool.started"))
        house.journal.request_control(house.session, "steer", {"input": "rather left"})
        await task

    asyncio.run(test())
    assert [block["type"] for block in house.messages[2]["content"]] == ["tool_result", "text"]
    assert house.messages[2]["content"][1]["text"] == "rather left"
    assert next(e.data["delta"] for e in house.events if e.type == "TEXT_MESSAGE_CONTENT") == "rather left"


def test_what_is_steered_during_the_last_reply_is_answered_too(house: Any, say: Any, wait_until: Any) -> None:
    async def test() -> None:
        reply = say.reply(say.text("bye"))
        said = asyncio.Event()
        _, task = house.begin("go", [*reply[:-1], said.wait, reply[-1]], say.reply(say.text("that too")))
        await wait_until(lambda: house.model.requests)
        house.journal.request_control(house.session, "steer", {"input": "and this"})
        await wait_until(lambda: any(e.data.get("role") == "user" for e in house.events))
        said.set()
        await task

    asyncio.run(test())
    texts = [message["content"][0]["text"] for message in house.messages]
    assert texts == ["go", "bye", "and this", "that too"]


def test_what_is_steered_while_the_turn_is_being_closed_is_answered_too(
    house: Any, say: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last moment: the turn has looked for more, found nothing, and goes to close itself."""
    flush = Recorder.flush

    async def late(recorder: Recorder) -> None:
        await flush(recorder)
        if any(e.type == "TEXT_MESSAGE_END" for e in house.events) and not house.customs("late"):
            house.journal.append(house.session, "t", [events.custom("late", {})])
            assert house.journal.request_control(house.session, "steer", {"input": "and this"})

    monkeypatch.setattr(Recorder, "flush", late)
    turn = asyncio.run(house.turn("go", say.reply(say.text("bye")), say.reply(say.text("that too"))))
    assert turn.state == "done"
    texts = [message["content"][0]["text"] for message in house.messages]
    assert texts == ["go", "bye", "and this", "that too"]
    assert [e.type for e in house.events].count("RUN_FINISHED") == 1


# What the instance does with its turns


def test_closing_interrupts_what_runs_and_the_conversation_says_so(
    house: Any, say: Any, wait_until: Any
) -> None:
    async def test() -> None:
        reply = say.reply(say.call("c", "bash", command="sleep 100"), stop="tool_use")
        turn, _ = house.begin("go", reply)
        await wait_until(lambda: house.customs("tool.started"))
        assert [running.id for running in house.runner.running] == [turn.id]
        await house.runner.close(0.05)
        assert house.runner.running == ()
        assert house.journal.turn(turn.id).state == "interrupted"

    asyncio.run(test())
    assert "is being stopped" in house.messages[-1]["content"][-1]["text"]
    assert house.events[-1].data["code"] == "interrupted"
    assert house.problems() == []


def test_closing_waits_for_a_turn_that_ends_in_time(house: Any, say: Any) -> None:
    async def test() -> None:
        turn, _ = house.begin("go", [lambda: asyncio.sleep(0.1), *say.reply(say.text("done"))])
        await house.runner.close(5)
        assert house.journal.turn(turn.id).state == "done"

    asyncio.run(test())


def test_a_turn_is_started_once(house: Any, say: Any) -> None:
    async def test() -> None:
        turn, task = house.begin("go", say.reply(say.text("done")))
        assert house.runner.start(turn, house.toggles) is task
        await task

    asyncio.run(test())
    assert len(house.model.requests) == 1


def test_the_shells_directory_is_kept_for_the_next_instance(house: Any, say: Any) -> None:
    (house.workspace / "sub").mkdir()

    async def test() -> None:
        command = say.reply(say.call("c1", "bash", command="cd sub"), stop="tool_use")
        await house.turn("go", command, say.reply(say.text("done")))
        await house.runner.close()
        house.use(Registry([Bash(), Files()]))
        command = say.reply(say.call("c2", "bash", command="pwd"), stop="tool_use")
        await house.turn("go", command, say.reply(say.text("done")))
        await house.runner.close()

    asyncio.run(test())
    told = house.results()["c2"]["content"][0]["text"]
    assert told.startswith("[a new shell in ")
    assert told.endswith("/sub\n")


def test_every_event_is_seen_at_once(house: Any, say: Any) -> None:
    seen: list[str] = []
    see: Callable[[Any, Any], None] = lambda _, event: seen.append(event.type)  # noqa: E731
    object.__setattr__(house.runner._parts, "seen", see)
    asyncio.run(house.turn("hi", say.reply(say.text("hello there"))))
    assert seen == [
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "CUSTOM",
    ]


def test_what_cannot_be_written_is_not_run(house: Any, say: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk: the call was not noted, so it must not take effect."""

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    turn = house.journal.start_turn(house.session, "go")
    monkeypatch.setattr(house.journal, "put_message", full)

    async def run() -> None:
        house.model.replies = [say.reply(say.call("c", "bash", command="touch x"), stop="tool_use")]
        await asyncio.wait_for(house.runner.start(turn, house.toggles), 10)

    asyncio.run(run())
    assert list(house.workspace.iterdir()) == []
    assert house.runner.running == ()


def test_a_turn_that_could_not_be_closed_is_closed_later(
    house: Any, say: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that was full for a while: the session must not stay busy for as long as the instance lives."""

    def full(*_: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    async def test() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(house.journal, "append", full)
            turn, task = house.begin("go", say.reply(say.text("bye")))
            assert await asyncio.wait_for(task, 10) is False
            assert house.journal.turn(turn.id).state == "running"
            with pytest.raises(ExceptionGroup, match="could not be closed"):
                await house.runner.recover()
        assert [turn.id for turn in await house.runner.recover()] == [turn.id]
        assert house.journal.turn(turn.id).state == "interrupted"
        assert await house.runner.recover() == []

    turn = house.journal.start_turn(house.session, "go")
    monkeypatch.setattr(house.journal, "start_turn", lambda *_: turn)
    asyncio.run(test())
    assert "could not be written" in house.events[-1].data["message"]
    assert house.problems() == []


def test_a_turn_that_cannot_be_written_any_more_ends_inside_its_tool(
    house: Any, say: Any, wait_until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that runs on for an hour where nobody sees what it does could not even be stopped."""

    def full(*_: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    async def test() -> None:
        command = "echo begun; until [ -e full ]; do sleep 0.01; done; echo more; sleep 60"
        turn, task = house.begin("go", say.reply(say.call("c", "bash", command=command), stop="tool_use"))
        await wait_until(lambda: house.customs("tool.output"))
        with monkeypatch.context() as patch:
            patch.setattr(house.journal, "append", full)
            (house.workspace / "full").touch()
            assert await asyncio.wait_for(task, 10) is False
        assert [turn.id for turn in await house.runner.recover()] == [turn.id]
        await house.runner.close()

    asyncio.run(test())
    assert "Its effects may have happened" in house.results()["c"]["content"][0]["text"]
    assert house.problems() == []


def test_what_a_tool_says_need_not_be_text(house: Any, say: Any) -> None:
    """A name of bytes that are no UTF-8 must not break the journal, and so the turn."""
    (house.workspace / os.fsdecode(b"caf\xe9")).mkdir()
    command = "cd caf*; ls -d $PWD"
    turn = asyncio.run(
        house.turn(
            "go",
            say.reply(say.call("a", "bash", command=command), stop="tool_use"),
            say.reply(say.call("b", "files", command="view", path="."), stop="tool_use"),
            say.reply(say.text("done")),
        )
    )
    assert turn.state == "done"
    assert "caf\ufffd" in house.results()["a"]["content"][0]["text"]
    assert "caf\ufffd/" in house.results()["b"]["content"][0]["text"]


def test_a_turn_that_nobody_can_stop_is_interrupted(
    house: Any, wait_until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(_turn: Any) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    async def test() -> None:
        turn, task = house.begin("go", [_forever])
        await wait_until(lambda: house.model.requests)
        with monkeypatch.context() as patch:
            patch.setattr(house.journal, "new_controls", unreadable)
            house.journal.request_control(house.session, "stop")
            await wait_until(lambda: task.done() or house.runner._runs[turn.id]._broken_off)
        await asyncio.wait_for(task, 10)
        assert house.journal.turn(turn.id).state == "interrupted"

    asyncio.run(test())


@pytest.mark.parametrize("end", ["done", "failed", "stopped"])
def test_an_ended_turn_leaves_nothing_in_memory(house: Any, say: Any, wait_until: Any, end: str) -> None:
    """Not even until somebody looks for garbage: its history may be large."""

    async def test() -> weakref.ref[Any]:
        broken = {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}
        replies = {"done": say.reply(say.text("hi")), "failed": [broken], "stopped": [_forever]}
        turn, task = house.begin("go", replies[end])
        conversation = weakref.ref(house.runner._runs[turn.id]._conversation)
        if end == "stopped":
            await wait_until(lambda: house.model.requests)
            house.journal.request_control(house.session, "stop")
        await task
        assert house.journal.turn(turn.id).state in {end, "interrupted"}
        return conversation

    gc.disable()
    try:
        assert asyncio.run(test())() is None
    finally:
        gc.enable()


def test_a_call_that_takes_the_workspace_away_fails_none_but_the_next(house: Any, say: Any) -> None:
    house.toggles |= {"max_parallel_tools": 1}
    calls = [
        say.call("c1", "bash", command='mv "$PWD" "$PWD.gone"; touch "$PWD"'),
        say.call("c2", "bash", command="echo here"),
    ]
    turn = asyncio.run(
        house.turn("go", say.reply(*calls, stop="tool_use"), say.reply(say.text("so it is gone")))
    )
    assert turn.state == "done"
    assert "the workspace cannot be used" in house.results()["c2"]["content"][0]["text"]
