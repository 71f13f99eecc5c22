"""Replies that break off, that are cut, and that come whole; and how a turn goes on or ends after them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from dcops.agent.events import Fault, coalesce
from dcops.agent.tools.registry import Registry
from dcops.agent.tools.tool import Effect, Tool, ToolContext, ToolResult
from dcops.agent.turn import attempts

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


class Probe(Tool):
    """A tool that notes each of its effects."""

    description = "Probe."
    input_schema = {  # noqa: RUF012
        "type": "object",
        "properties": {"n": {"type": "string"}},
        "additionalProperties": False,
    }

    def __init__(self, name: str = "probe", effect: Effect = Effect.EFFECTS) -> None:
        self.name = name
        self.ran: list[str] = []
        self.readonly = effect is Effect.READONLY

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> AsyncGenerator[Any, None]:
        del context
        self.ran.append(arguments.get("n", ""))
        yield ToolResult(f"ran {arguments.get('n', '')}")


@pytest.fixture
def probe(house: Any) -> Probe:
    probe = Probe()
    house.use(Registry([probe]))
    return probe


def _texts(message: dict[str, Any]) -> list[str]:
    return [block["text"] for block in message["content"] if block["type"] == "text"]


def _assistants(house: Any) -> list[list[dict[str, Any]]]:
    return [message["content"] for message in house.messages if message["role"] == "assistant"]


# Before the first delta


@pytest.mark.parametrize(
    "broken",
    [
        [Fault("overloaded_error", "Overloaded")],
        [Fault("http_502", "bad gateway", passing=True)],
        [Fault("connection_error", "refused")],
        [OVERLOADED],
        [{"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant"}}],
        [{"type": "ping"}, Fault("stream_broken", "reset", mid_stream=True)],
        [],
    ],
    ids=["overload", "gateway", "refused", "error event", "start only", "ping only", "nothing"],
)
def test_h8_h9_a_reply_of_which_nothing_came_is_asked_for_again(house: Any, say: Any, broken: Any) -> None:
    turn = asyncio.run(house.turn("hi", broken, broken, say.reply(say.text("hello"))))
    assert turn.state == "done"
    assert [value["attempt"] for value in house.customs("retry")] == [1, 2]
    assert all(value["reason"] and value["seconds"] == 0 for value in house.customs("retry"))
    assert house.customs("reply.cut") == []
    assert house.model.requests[0] == house.model.requests[1] == house.model.requests[2]
    assert _assistants(house) == [[say.text("hello")]]
    assert len(house.messages) == 2


def test_what_is_refused_is_not_asked_again(house: Any, say: Any) -> None:
    fault = Fault("invalid_request_error", "prompt is too long")
    turn = asyncio.run(house.turn("hi", [fault], say.reply(say.text("hello"))))
    assert turn.state == "failed"
    assert house.customs("retry") == []
    assert house.customs("turn.interrupted") == [{"reason": "prompt is too long (invalid_request_error)"}]
    assert house.problems() == []


def test_a_wait_that_is_too_long_ends_the_turn_with_the_reason(house: Any, say: Any) -> None:
    fault = Fault("rate_limit_error", "slower (it asks to wait 900 s)", passing=True, retry_after=900)
    turn = asyncio.run(house.turn("hi", [fault], say.reply(say.text("hello"))))
    assert turn.state == "failed"
    assert "it asks to wait 900 s" in house.customs("turn.interrupted")[0]["reason"]


def test_a_stop_ends_the_wait_for_a_retry(house: Any, wait_until: Any) -> None:
    async def test() -> None:
        fault = Fault("rate_limit_error", "slower", passing=True, retry_after=50)
        turn, task = house.begin("go", [fault])
        await wait_until(lambda: house.customs("retry"))
        assert house.customs("retry")[0]["seconds"] >= 50
        house.journal.request_control(house.session, "stop")
        await asyncio.wait_for(task, 5)
        assert house.journal.turn(turn.id).state == "stopped"

    asyncio.run(test())
    assert house.problems() == []
    assert len(house.model.requests) == 1


def test_a_pause_holds_a_retry_and_what_is_steered_meanwhile_goes_along(
    house: Any, say: Any, wait_until: Any
) -> None:
    async def test() -> None:
        paused = asyncio.Event()
        _, task = house.begin("go", [paused.wait, Fault("api_error", "oops")], say.reply(say.text("done")))
        await wait_until(lambda: house.model.requests)
        house.journal.request_control(house.session, "pause")
        await wait_until(lambda: house.customs("paused"))
        paused.set()
        await wait_until(lambda: house.customs("retry"))
        house.journal.request_control(house.session, "steer", {"input": "rather left"})
        await wait_until(lambda: any(event.data.get("role") == "user" for event in house.events))
        assert len(house.model.requests) == 1
        house.journal.request_control(house.session, "resume")
        await asyncio.wait_for(task, 5)

    asyncio.run(test())
    assert _texts(house.model.messages(1)[-1]) == ["go", "rather left"]


@pytest.mark.parametrize(
    "broken", [[Fault("stream_stalled", "silent")], [OVERLOADED | {"type": "brand_new"}], [{"no": "type"}]]
)
def test_h18_streams_that_break_lead_to_a_whole_reply(
    house: Any, say: Any, probe: Probe, broken: Any
) -> None:
    story = say.reply(say.call("c", "probe", n="a"), stop="tool_use")
    turn = asyncio.run(house.turn("hi", broken, broken, story, say.reply(say.text("done"))))
    assert turn.state == "done"
    assert house.model.streamed == [True, True, False, False]
    assert ["asked for whole" in value["reason"] for value in house.customs("retry")] == [False, True]
    assert probe.ran == ["a"]
    assert house.problems() == []


def test_h18_no_whole_reply_once_a_part_came(house: Any, say: Any) -> None:
    cut = [*say.reply(say.text("one"))[:3], Fault("stream_stalled", "silent", mid_stream=True)]
    turn = asyncio.run(house.turn("hi", *[cut] * 9))
    assert turn.state == "interrupted"
    assert all(house.model.streamed)
    assert len(house.model.requests) == 1 + attempts.CONTINUATIONS


# After it


@pytest.mark.parametrize("fault", [[OVERLOADED], [Fault("stream_broken", "reset", mid_stream=True)], []])
def test_h8_h9_h10_a_reply_that_breaks_off_is_gone_on_with_and_nothing_runs_twice(
    house: Any, say: Any, fault: list[Any]
) -> None:
    look, act = Probe("look", Effect.READONLY), Probe("act")
    house.use(Registry([look, act]))
    story = say.reply(
        say.thinking("hm"),
        say.call("one", "look", n="one"),
        say.call("two", "act", n="two"),
        say.text("and then"),
        say.call("three", "act", n="three"),
    )
    cut = story[:-2]  # three is sealed, and nothing proves it
    again = say.reply(say.call("four", "act", n="three"), stop="tool_use")
    turn = asyncio.run(house.turn("go", [*cut, *fault], again, say.reply(say.text("done"))))
    assert turn.state == "done"
    assert (look.ran, act.ran) == (["one"], ["two", "three"])
    first = house.messages[1]["content"]
    assert [block["type"] for block in first] == ["thinking", "tool_use", "tool_use", "text", "tool_use"]
    assert first[0] == say.thinking("hm")
    answer = house.messages[2]["content"]
    assert [block.get("tool_use_id") for block in answer] == ["one", "two", "three", None]
    assert answer[2]["content"][0]["text"].startswith("Not executed: the reply was cut off by a fault (")
    assert answer[3]["text"].startswith("[Your reply was cut off here by a fault: ")
    assert len(house.customs("reply.cut")) == len(house.customs("retry")) == 1
    assert house.problems() == []


@pytest.mark.parametrize(
    "fault", [[OVERLOADED], [Fault("stream_stalled", "silent", mid_stream=True)], []], ids=str
)
@pytest.mark.parametrize("eager", ["off", "confirmed"])
def test_a_reply_that_lacks_nothing_but_its_end_is_whole(
    house: Any, say: Any, probe: Probe, fault: list[Any], eager: str
) -> None:
    house.toggles["eager_tools"] = eager
    called, said = say.reply(say.call("one", "probe", n="one"), stop="tool_use"), say.reply(say.text("done"))
    turn = asyncio.run(house.turn("go", [*called[:-1], *fault], [*said[:-1], *fault]))
    assert turn.state == "done"
    assert probe.ran == ["one"]
    assert len(house.model.requests) == 2
    assert house.customs("retry") == house.customs("reply.cut") == []
    assert [value["output_tokens"] for value in house.customs("usage")] == [9, 9]
    assert house.problems() == []


def test_a_call_that_was_open_at_a_fault_is_told_not_to_have_run(house: Any, say: Any, probe: Probe) -> None:
    cut = say.reply(say.text("so"), say.call("one", "probe", n="one"))[:-3]
    asyncio.run(house.turn("go", [*cut, OVERLOADED], say.reply(say.text("done"))))
    assert probe.ran == []
    assert [(end["call"], end["status"]) for end in house.customs("tool.finished")] == [("one", "not_run")]
    told = [event.data["content"] for event in house.events if event.type == "TOOL_CALL_RESULT"]
    assert told == ["Not executed: the reply was cut off by a fault (Overloaded)."]
    assert house.results() == {}


def test_thinking_that_was_not_signed_is_left_out_and_the_rest_kept(house: Any, say: Any) -> None:
    unsigned = say.reply(say.thinking("half a"))[:3]
    turn = asyncio.run(house.turn("go", unsigned, say.reply(say.text("done"))))
    assert turn.state == "done"
    assert house.model.messages(0) == house.model.messages(1)  # nothing to go on behind
    signed = say.reply(say.thinking("whole"), say.text("and so"))[:-3]
    asyncio.run(house.turn("more", signed, say.reply(say.text("on"))))
    assert house.messages[-3]["content"] == [say.thinking("whole"), say.text("and so")]
    assert house.problems() == []


def test_what_breaks_off_again_and_again_ends_the_turn_with_the_reason(
    house: Any, say: Any, probe: Probe
) -> None:
    def cut(n: int) -> list[Any]:
        reply = say.reply(say.call(f"c{n}", "probe", n=f"{n}"), say.text("more"), stop="tool_use")
        return [*reply[:-2], OVERLOADED]

    turn = asyncio.run(house.turn("go", *(cut(n) for n in range(9))))
    assert turn.state == "interrupted"
    assert len(house.model.requests) == 1 + attempts.CONTINUATIONS
    assert probe.ran == [str(n) for n in range(1 + attempts.CONTINUATIONS)]
    assert house.events[-1].data == {"message": "Overloaded", "code": "overloaded_error"}
    assert house.problems() == []


def test_an_error_within_a_reply_that_would_not_pass_ends_the_turn(
    house: Any, say: Any, probe: Probe
) -> None:
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}
    reply = say.reply(say.call("c", "probe", n="a"), say.text("more"), stop="tool_use")
    turn = asyncio.run(house.turn("go", [*reply[:-3], error], say.reply(say.text("never"))))
    assert turn.state == "interrupted"
    assert len(house.model.requests) == 1
    assert house.results()["c"]["content"][0]["text"] == "ran a"
    assert probe.ran == ["a"]
    assert house.problems() == []


@pytest.mark.parametrize("splice", ["second message_start", "duplicate index"])
def test_h21_replies_that_are_spliced_are_not_merged(house: Any, say: Any, probe: Probe, splice: str) -> None:
    first = say.reply(say.call("one", "probe", n="one"), say.text("mine"))[:-3]
    second = say.reply(say.call("two", "probe", n="two"), stop="tool_use")
    spliced = [*first, *(second if splice == "second message_start" else second[1:])]
    turn = asyncio.run(house.turn("go", spliced, say.reply(say.text("done"))))
    assert turn.state == "done"
    assert probe.ran == ["one"]
    assert "stream is broken" in house.customs("retry")[0]["reason"]
    assert [block["type"] for block in house.messages[1]["content"]] == ["tool_use", "text"]
    assert house.problems() == []


def test_what_was_steered_meanwhile_goes_along_when_a_reply_breaks_off(
    house: Any, say: Any, wait_until: Any
) -> None:
    async def test() -> None:
        steered = asyncio.Event()
        cut = [*say.reply(say.text("one"))[:3], steered.wait, OVERLOADED]
        _, task = house.begin("go", cut, say.reply(say.text("done")))
        await wait_until(lambda: house.model.requests)
        house.journal.request_control(house.session, "steer", {"input": "rather left"})
        await wait_until(lambda: any(event.data.get("role") == "user" for event in house.events))
        steered.set()
        await asyncio.wait_for(task, 5)

    asyncio.run(test())
    assert _texts(house.messages[2])[1] == "rather left"
    assert len(house.messages) == 4


def test_a_stop_while_the_calls_of_a_cut_reply_run_ends_them(house: Any, say: Any, wait_until: Any) -> None:
    async def test() -> None:
        reply = say.reply(say.call("c", "bash", command="sleep 100"), say.text("more"), stop="tool_use")
        turn, task = house.begin("go", [*reply[:-2], OVERLOADED], say.reply(say.text("never")))
        await wait_until(lambda: house.customs("tool.started"))
        house.journal.request_control(house.session, "stop")
        await asyncio.wait_for(task, 5)
        assert house.journal.turn(turn.id).state == "stopped"

    asyncio.run(test())
    assert len(house.model.requests) == 1
    assert house.results()["c"]["content"][0]["text"].startswith("Interrupted while running: stopped by")
    assert house.messages[1]["content"][1] == say.text("more")
    assert house.problems() == []


def test_a_stop_ends_the_wait_for_a_whole_reply(house: Any, say: Any, wait_until: Any) -> None:
    house.toggles["use_unified_streaming"] = False

    async def test() -> None:
        never = asyncio.get_running_loop().create_future()
        turn, task = house.begin("go", [lambda: never, *say.reply(say.text("never"))])
        await wait_until(lambda: house.model.requests)
        house.journal.request_control(house.session, "stop")
        await asyncio.wait_for(task, 5)
        assert house.journal.turn(turn.id).state == "stopped"

    asyncio.run(test())
    assert house.problems() == []


# How replies end


@pytest.mark.parametrize("stop", ["max_tokens", "model_context_window_exceeded"])
def test_h4_a_cut_reply_keeps_what_ran_says_what_was_cut_and_is_gone_on_with(
    house: Any, say: Any, probe: Probe, stop: str
) -> None:
    cut = say.reply(say.thinking("hm"), say.call("ran", "probe", n="a"), say.call("cut", "probe"), stop=stop)
    del cut[-4:-2]  # neither complete nor closed
    turn = asyncio.run(house.turn("go", cut, say.reply(say.text("done"))))
    assert turn.state == "done"
    assert probe.ran == ["a"]
    assert house.results()["ran"]["content"][0]["text"] == "ran a"
    assert f"cut off by {stop}" in house.results()["cut"]["content"][0]["text"]
    assert house.customs("reply.cut") == [{"reason": f"it ended with {stop}"}]
    assert house.events[-1].data["result"] == {"stop_reason": "end_turn"}
    assert house.problems() == []


def test_h4_what_was_cut_gets_more_room_as_far_as_the_model_goes(house: Any, say: Any, probe: Probe) -> None:
    def cut(n: int) -> list[Any]:
        return list(say.reply(say.call(f"c{n}", "probe", n=f"{n}"), stop="max_tokens"))

    whole = say.reply(say.call("whole", "probe", n="whole"), stop="tool_use")
    house.toggles["max_tokens"] = 50_000
    asyncio.run(house.turn("go", cut(1), cut(2), whole, say.reply(say.text("done"))))
    assert [body["max_tokens"] for body in house.model.requests] == [50_000, 100_000, 128_000, 50_000]
    assert len({json.dumps(body.get("thinking")) for body in house.model.requests}) == 1
    assert probe.ran == ["whole"]
    house.model.requests.clear()
    house.toggles |= {"use_extended_output": False, "max_tokens": 64_000}
    asyncio.run(house.turn("go", cut(3), cut(4), cut(5), say.reply(say.text("never"))))
    assert [body["max_tokens"] for body in house.model.requests] == [64_000] * 3
    assert house.events[-1].data["result"] == {"stop_reason": "max_tokens"}
    assert house.problems() == []


@pytest.mark.parametrize(("extended", "requests"), [(True, 2), (False, 1)])
def test_h4_a_reply_that_was_all_thinking_is_asked_for_again_if_there_is_more_room(
    house: Any, say: Any, extended: bool, requests: int
) -> None:
    house.toggles["use_extended_output"] = extended
    thinking = say.reply(say.thinking("on and on"), stop="max_tokens")
    asyncio.run(house.turn("go", thinking, say.reply(say.text("done"))))
    assert len(house.model.requests) == requests
    assert [message["role"] for message in house.messages] == ["user", "assistant"][:requests]
    assert house.problems() == []


def test_a_text_that_max_tokens_cut_ends_the_turn_and_says_so(house: Any, say: Any) -> None:
    turn = asyncio.run(house.turn("go", say.reply(say.text("so far so"), stop="max_tokens")))
    assert turn.state == "done"
    assert house.customs("reply.cut") == [{"reason": "it ended with max_tokens"}]
    assert house.events[-1].data["result"] == {"stop_reason": "max_tokens"}


def test_h5_h6_results_come_first_in_order_and_the_reply_keeps_its_own(
    house: Any, say: Any, probe: Probe
) -> None:
    search = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    found = {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}
    blocks = [say.call("b", "probe", n="b"), search, found, say.text("so"), say.call("a", "probe", n="a")]
    asyncio.run(house.turn("go", say.reply(*blocks, stop="tool_use"), say.reply(say.text("done"))))
    assert house.messages[1]["content"] == blocks
    assert [block["tool_use_id"] for block in house.messages[2]["content"]] == ["b", "a"]
    assert house.problems() == []
    assert sorted(probe.ran) == ["a", "b"]


def test_h7_thinking_goes_back_as_it_came(house: Any, say: Any, probe: Probe) -> None:
    omitted = {"type": "thinking", "thinking": "", "signature": "of omitted thinking"}
    redacted = {"type": "redacted_thinking", "data": "xyz"}
    blocks = [say.thinking("\u00e9 {}", "sig=="), redacted, omitted, say.call("c", "probe", n="a")]
    reply = say.reply(*blocks, stop="tool_use")
    reply = [event for event in reply if event.get("delta", {}).get("thinking") != ""]
    asyncio.run(house.turn("go", reply, say.reply(say.text("done"))))
    assert house.model.messages(1)[1]["content"] == blocks
    asked = [{**request, "messages": None} for request in house.model.requests]
    assert asked[0]["thinking"] == asked[1]["thinking"]
    assert asked[0]["model"] == asked[1]["model"]
    assert probe.ran == ["a"]


def test_h11_a_refusal_after_a_call_ran_keeps_the_call_and_ends_the_turn(
    house: Any, say: Any, probe: Probe
) -> None:
    reply = say.reply(
        say.call("ran", "probe", n="a"), say.text("no"), say.call("not", "probe", n="b"), stop="refusal"
    )
    turn = asyncio.run(house.turn("go", reply, say.reply(say.text("never"))))
    assert turn.state == "done"
    assert house.events[-1].data["result"] == {"stop_reason": "refusal"}
    assert probe.ran == ["a"]
    assert house.results()["ran"]["content"][0]["text"] == "ran a"
    assert house.results()["not"]["is_error"]
    assert house.problems() == []


@pytest.mark.parametrize("stop", ["pause_turn", "compaction"])
def test_h20_a_paused_reply_is_sent_back_unchanged_with_nothing_behind_it(
    house: Any, say: Any, wait_until: Any, stop: str
) -> None:
    block = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    if stop == "compaction":
        block = {"type": "compaction", "content": "what was said"}

    async def test() -> None:
        steered = asyncio.Event()
        first = say.reply(block, stop=stop)
        _, task = house.begin(
            "go",
            [*first[:-1], steered.wait, first[-1]],
            say.reply(say.text("so")),
            say.reply(say.text("left")),
        )
        await wait_until(lambda: house.model.requests)
        house.journal.request_control(house.session, "steer", {"input": "rather left"})
        await wait_until(lambda: any(event.data.get("role") == "user" for event in house.events))
        steered.set()
        await asyncio.wait_for(task, 5)

    asyncio.run(test())
    assert house.model.messages(1)[1:] == [{"role": "assistant", "content": [block]}]
    assert _texts(house.model.messages(2)[-1]) == ["rather left"]


def test_a_stop_for_tools_without_a_call_ends_the_turn_as_it_is(house: Any, say: Any) -> None:
    turn = asyncio.run(house.turn("go", say.reply(say.text("now"), stop="tool_use"), say.reply()))
    assert turn.state == "done"
    assert len(house.model.requests) == 1
    assert house.events[-1].data["result"] == {"stop_reason": "tool_use"}
    assert house.problems() == []


# Toggles


def _story(say: Any) -> list[list[Any]]:
    return [
        say.reply(
            say.thinking("let me see"),
            say.text("I look and act"),
            say.call("look", "probe", n="one"),
            say.raw("wrong", "probe", '{"m": 1}'),
            say.text("so far"),
            say.call("act", "probe", n="two"),
            stop="tool_use",
        ),
        say.reply(say.call("third", "probe", n="three"), say.call("cut", "probe"), stop="max_tokens"),
        say.reply(say.text("done")),
    ]


def _told(house: Any) -> list[Any]:
    """The events without what differs from run to run, each call's and text's own in order."""
    kinds: dict[str, list[Any]] = {}
    for event in coalesce(house.events):
        data = event.data.get("value", event.data)
        of = str(data.get("call") or data.get("toolCallId") or data.get("messageId", "").partition(".")[2])
        name = str(event.data.get("name", event.type))
        kinds.setdefault(of, []).append((name, data.get("delta"), data.get("status"), data.get("content")))
    return sorted(kinds.items())


def test_use_unified_streaming_off_makes_the_same_history_and_results(house: Any, say: Any) -> None:
    seen = []
    for unified in (True, False):
        probe = Probe()
        house.use(Registry([probe]))
        house.session = house.journal.create_session()
        house.toggles["use_unified_streaming"] = unified
        house.model.requests, house.model.streamed = [], []
        turn = asyncio.run(house.turn("go", *_story(say)))
        assert turn.state == "done"
        assert house.model.streamed == [unified] * 3
        assert house.problems() == []
        asked = [{**request, "system": None} for request in house.model.requests]  # it names the session
        seen.append((json.dumps([house.messages, asked]), _told(house), sorted(probe.ran)))
    assert seen[0] == seen[1]


def test_use_unified_streaming_off_starts_no_tool_before_the_reply_is_there(
    house: Any, say: Any, probe: Probe
) -> None:
    reply = say.reply(say.call("c", "probe", n="a"), say.text("later"), stop="tool_use")
    ran_meanwhile: list[bool] = []

    async def look() -> None:
        await asyncio.sleep(0.05)
        ran_meanwhile.append(bool(probe.ran))

    for unified in (True, False):
        probe.ran.clear()
        house.toggles["use_unified_streaming"] = unified
        call = say.call(f"c{unified}", "probe", n="a")
        reply = say.reply(call, say.text("later"), stop="tool_use")
        asyncio.run(house.turn("go", [*reply[:-2], look, *reply[-2:]], say.reply(say.text("done"))))
        assert probe.ran == ["a"]
    assert ran_meanwhile == [True, False]


def test_h11_a_whole_reply_that_was_refused_runs_nothing(house: Any, say: Any, probe: Probe) -> None:
    house.toggles["use_unified_streaming"] = False
    reply = say.reply(say.call("c", "probe", n="a"), say.text("no"), stop="refusal")
    turn = asyncio.run(house.turn("go", reply))
    assert turn.state == "done"
    assert probe.ran == []
    assert [message["role"] for message in house.messages] == ["user"]


def test_use_unified_streaming_off_asks_again_after_faults_too(house: Any, say: Any) -> None:
    house.toggles["use_unified_streaming"] = False
    broken = [Fault("stream_broken", "no JSON")]
    turn = asyncio.run(house.turn("go", broken, broken, broken, say.reply(say.text("done"))))
    assert turn.state == "done"
    assert house.model.streamed == [False] * 4


def test_use_response_chunking_off_ends_the_turn_after_the_results(
    house: Any, say: Any, probe: Probe
) -> None:
    house.toggles["use_response_chunking"] = False
    call = say.reply(say.call("c", "probe", n="a"), stop="tool_use")
    turn = asyncio.run(house.turn("go", call, say.reply(say.text("never"))))
    assert turn.state == "done"
    assert house.events[-1].data["result"] == {"stop_reason": "tool_use"}
    assert probe.ran == ["a"]
    assert len(house.model.requests) == 1
    assert house.problems() == []
    asyncio.run(house.turn("and now?", say.reply(say.text("done"))))
    following = house.model.messages(1)[-1]["content"]
    assert [block["type"] for block in following] == ["tool_result", "text"]
    assert following[1]["text"] == "and now?"


def test_use_response_chunking_off_ends_a_turn_whose_calls_were_cut_too(
    house: Any, say: Any, probe: Probe
) -> None:
    house.toggles["use_response_chunking"] = False
    cut = say.reply(say.call("ran", "probe", n="a"), say.call("cut", "probe"), stop="max_tokens")
    asyncio.run(house.turn("go", cut, say.reply(say.text("never"))))
    assert house.events[-1].data["result"] == {"stop_reason": "max_tokens"}
    assert probe.ran == ["a"]
    assert house.problems() == []


def test_use_response_chunking_off_still_answers_what_was_steered(
    house: Any, say: Any, probe: Probe, wait_until: Any
) -> None:
    house.toggles["use_response_chunking"] = False

    async def test() -> None:
        steered = asyncio.Event()
        reply = say.reply(say.call("c", "probe", n="a"), stop="tool_use")
        _, task = house.begin("go", [*reply[:-1], steered.wait, reply[-1]], say.reply(say.text("left")))
        await wait_until(lambda: house.model.requests)
        house.journal.request_control(house.session, "steer", {"input": "rather left"})
        await wait_until(lambda: any(event.data.get("role") == "user" for event in house.events))
        steered.set()
        await asyncio.wait_for(task, 5)

    asyncio.run(test())
    assert house.messages[-1]["content"] == [say.text("left")]
    assert probe.ran == ["a"]
