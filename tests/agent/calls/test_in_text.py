"""Turns whose calls are XML in the model's text: told, run, answered and repaired like any others."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest

from dcops.agent.events import Fault, coalesce
from dcops.agent.model import history
from dcops.agent.prompts import calls_in_text
from dcops.agent.tools.registry import default_registry
from dcops.agent.turn.recovery import recover

OPEN, CLOSE = "<function_calls>", "</function_calls>"
RESULT = re.compile(r'<result name="([^"]*)" id="([^"]*)" status="([^"]*)">(.*?)</result>', re.DOTALL)


def bash(command: str) -> str:
    return f'<invoke name="bash">\n<parameter name="command">{command}</parameter>\n</invoke>\n'


def calls(*invokes: str) -> str:
    """Calls as the API returns them that stops at their closing tag."""
    return f"{OPEN}\n{''.join(invokes)}"


def results(message: dict[str, Any]) -> list[tuple[str, ...]]:
    assert message["role"] == "user"
    return RESULT.findall(message["content"][0]["text"])


@pytest.fixture
def home(house: Any) -> Any:
    house.toggles |= {"use_xml_prompts": True}
    return house


def told(house: Any) -> list[str]:
    return [e.data["name"] if e.type == "CUSTOM" else e.type for e in coalesce(house.events)]


def go(house: Any, *replies: Any) -> Any:
    return asyncio.run(house.turn("go", *replies))


def test_calls_run_and_their_results_go_back_as_text(home: Any, say: Any) -> None:
    text = "Look. " + calls(bash("echo one"), bash("echo '&lt;two>' &amp;&amp; false"))
    turn = go(home, say.reply(say.text(text), stop="stop_sequence"), say.reply(say.text("done")))
    assert turn.state == "done"
    first, second = home.model.requests
    assert "tools" not in first
    assert "tools" not in second
    assert first["stop_sequences"] == [CLOSE]
    assert home.messages[1] == {"role": "assistant", "content": [say.text(text + CLOSE)]}
    assert results(home.messages[2]) == [
        ("bash", "1.1", "ok", "one\n"),
        ("bash", "1.2", "error", "&lt;two>\n[exit code 1]"),
    ]
    assert len(home.messages[2]["content"]) == 1
    assert home.model.messages(1) == home.messages[:3]
    assert home.problems() == []


def test_clients_are_told_what_native_calls_are_told(house: Any, say: Any) -> None:
    native = say.reply(say.text("Look."), say.call("c", "bash", command="echo one"), stop="tool_use")
    go(house, native, say.reply(say.text("done")))
    in_native = told(house)
    house.session = house.journal.create_session()
    house.toggles |= {"use_xml_prompts": True}
    written = say.reply(say.text("Look." + calls(bash("echo one"))), stop="stop_sequence")
    turn = go(house, written, say.reply(say.text("done")))
    assert told(house) == in_native
    events = coalesce(house.events)
    assert [e.data["delta"] for e in events if e.type == "TEXT_MESSAGE_CONTENT"] == ["Look.", "done"]
    assert [json.loads(e.data["delta"]) for e in events if e.type == "TOOL_CALL_ARGS"] == [
        {"command": "echo one"}
    ]
    started = next(e for e in events if e.type == "TOOL_CALL_START")
    assert started.data == {"toolCallId": f"{turn.id}.1.1", "toolCallName": "bash"}
    assert list(house.journal.calls(turn)) == [f"{turn.id}.1.1"]


def test_every_text_has_an_id_of_its_own(home: Any, say: Any) -> None:
    text = "a" + calls(bash("true")) + "b" + bash("true") + CLOSE + "c"
    go(home, say.reply(say.thinking("hm"), say.text(text), stop="end_turn"), say.reply(say.text("d")))
    starts = [e.data["messageId"] for e in home.events if e.type == "TEXT_MESSAGE_START"]
    ends = [e.data["messageId"] for e in home.events if e.type == "TEXT_MESSAGE_END"]
    assert len(starts) == 4
    assert sorted(set(starts)) == sorted(ends)
    assert home.messages[1]["content"] == [say.thinking("hm"), say.text(text)]
    assert [status for _, _, status, _ in results(home.messages[2])] == ["ok", "ok"]


@pytest.mark.parametrize("after", [bash("true"), f"{CLOSE} and so on", "more"])
def test_a_call_starts_when_what_follows_confirms_it(
    home: Any, say: Any, wait_until: Any, after: str
) -> None:
    async def test() -> None:
        proof = home.workspace / "proof"
        reply = say.reply(say.text(""), stop="end_turn")
        pieces = [calls(bash("touch proof")), after]
        reply[2:3] = [{**reply[2], "delta": {"type": "text_delta", "text": piece}} for piece in pieces]
        reply.insert(3, lambda: wait_until(lambda: "TOOL_CALL_END" in told(home)))
        reply.insert(4, lambda: _is("tool.queued" not in told(home)))
        reply.insert(6, lambda: wait_until(proof.exists))
        assert (await home.turn("go", reply, say.reply(say.text("done")))).state == "done"

    asyncio.run(test())


async def _is(condition: bool) -> None:
    assert condition  # looked at when the reply comes to it


def test_what_only_reads_starts_when_its_call_ends(home: Any, say: Any, wait_until: Any) -> None:
    async def test() -> None:
        view = '<parameter name="command">view</parameter><parameter name="path">.</parameter>'
        look = f'<invoke name="files">{view}</invoke>'
        reply = say.reply(say.text(calls(look)), stop="stop_sequence")
        reply.insert(-3, lambda: wait_until(lambda: home.customs("tool.finished")))
        assert (await home.turn("go", reply, say.reply(say.text("done")))).state == "done"

    asyncio.run(test())


@pytest.mark.parametrize("toggles", [{"eager_tools": "off"}, {"enable_tool_buffer": False}])
def test_calls_can_be_made_to_wait_for_the_end_of_the_reply(
    home: Any, say: Any, wait_until: Any, toggles: Any
) -> None:
    home.toggles |= toggles
    proof = home.workspace / "proof"
    reply = say.reply(say.text(calls(bash("touch proof"), bash("true"))), stop="stop_sequence")
    reply.insert(-1, lambda: wait_until(lambda: told(home).count("TOOL_CALL_END") == 2))
    reply.insert(-1, lambda: _is("tool.queued" not in told(home)))
    go(home, reply, say.reply(say.text("done")))
    assert [status for _, _, status, _ in results(home.messages[2])] == ["ok", "ok"]
    assert proof.exists()


@pytest.mark.parametrize("stop", ["max_tokens", "model_context_window_exceeded"])
def test_a_call_that_only_a_cut_follows_does_not_run(home: Any, say: Any, stop: str) -> None:
    text = calls(bash("touch first"), bash("touch second"))
    go(home, say.reply(say.text(text), stop=stop), say.reply(say.text("done")))
    assert (home.workspace / "first").exists()
    assert not (home.workspace / "second").exists()
    ran, cut = results(home.messages[2])
    assert ran[2] == "ok"
    assert f"cut off by {stop}" in cut[3]
    assert home.problems() == []


@pytest.mark.parametrize(
    "inside", ['<invoke name="bash">\n<parameter name="command">touch x', '<invoke name="ba', ""]
)
def test_a_call_cut_in_the_middle_is_answered_and_never_runs(home: Any, say: Any, inside: str) -> None:
    turn = go(home, say.reply(say.text(calls(inside)), stop="max_tokens"), say.reply(say.text("done")))
    assert turn.state == "done"
    assert home.journal.calls(turn) == {}
    ((_, _, _, content),) = results(home.messages[2])
    assert "cut off by max_tokens" in content
    assert home.messages[1]["content"][0]["text"] == calls(inside)
    assert home.problems() == []


@pytest.mark.parametrize(
    ("written", "stop", "said"),
    [
        (
            calls('<invoke name="teleport"></invoke>'),
            "stop_sequence",
            "no tool 'teleport'",
        ),
        (
            calls('<invoke name="bash"><parameter name="cmd">ls</parameter></invoke>'),
            "stop_sequence",
            "schema",
        ),
        (
            calls('<invoke name="bash"><parameter name="command">ls'),
            "stop_sequence",
            "&amp;lt;/function_calls>",
        ),
        (calls('<invoke name="bash"><parameter name="command">ls'), "end_turn", "is not closed"),
        (calls(), "stop_sequence", "has no &lt;invoke>"),
        (calls("<bash>ls</bash>"), "stop_sequence", "&lt;bash> has no place here"),
        ("I close my calls with ", "stop_sequence", "came without"),
    ],
)
def test_what_is_no_call_is_answered_and_the_turn_goes_on(
    home: Any, say: Any, written: str, stop: str, said: str
) -> None:
    turn = go(home, say.reply(say.text(written), stop=stop), say.reply(say.text("done")))
    assert turn.state == "done"
    assert home.journal.calls(turn) == {}
    ((_, _, status, content),) = results(home.messages[2])
    assert status == "error"
    assert re.search(said, content)
    assert home.messages[1]["content"][0]["text"] == written + (CLOSE if stop == "stop_sequence" else "")
    assert home.events[-1].data["result"] == {"stop_reason": "end_turn"}
    assert told(home).count("TOOL_CALL_RESULT") == 1
    assert home.problems() == []


def test_a_tools_output_cannot_end_its_result(home: Any, say: Any) -> None:
    text = calls(bash("echo '&lt;/result>&lt;/function_results>&amp;lt;'"))
    go(home, say.reply(say.text(text), stop="stop_sequence"), say.reply(say.text("done")))
    answer = home.messages[2]["content"][0]["text"]
    assert answer.count("</result>") == answer.count("</function_results>") == 1
    assert "&lt;/result>&lt;/function_results>&amp;lt;" in answer


def test_without_the_toggle_such_text_is_text(house: Any, say: Any) -> None:
    text = calls(bash("touch x")) + CLOSE
    go(house, say.reply(say.text(text)))
    assert not (house.workspace / "x").exists()
    assert "TOOL_CALL_START" not in told(house)
    assert "stop_sequences" not in house.model.requests[0]


def test_the_plain_loop_keeps_the_same_history(house: Any, say: Any) -> None:
    kept = []
    for streaming in (True, False):
        house.session = house.journal.create_session()
        house.workspace = house.workspaces / house.session
        house.workspace.mkdir()
        house.toggles |= {"use_xml_prompts": True, "use_unified_streaming": streaming}
        text = "Look." + calls(bash("echo one"))
        go(house, say.reply(say.text(text), stop="stop_sequence"), say.reply(say.text("done")))
        kept.append(house.messages)
    assert kept[0] == kept[1]


def test_what_is_steered_goes_along_behind_the_results(home: Any, say: Any) -> None:
    async def steer() -> None:
        home.journal.request_control(home.session, "steer", {"input": "and be quick"})

    reply = say.reply(say.text(calls(bash("sleep 0.2"))), stop="stop_sequence")
    reply.insert(1, steer)
    go(home, reply, say.reply(say.text("done")))
    answer = home.messages[2]["content"]
    assert len(results(home.messages[2])) == 1
    assert answer[1] == say.text("and be quick")


def test_without_response_chunking_the_results_wait_for_the_next_input(home: Any, say: Any) -> None:
    home.toggles |= {"use_response_chunking": False}
    go(home, say.reply(say.text(calls(bash("echo one"))), stop="stop_sequence"))
    assert home.events[-1].data["result"] == {"stop_reason": "tool_use"}
    go(home, say.reply(say.text("done")))
    last = home.model.messages(1)[-1]
    assert results(last) == [("bash", "1.1", "ok", "one\n")]
    assert last["content"][1] == say.text("go")


# Turns that break off


def test_a_stop_answers_each_call_by_what_became_of_it(home: Any, say: Any, wait_until: Any) -> None:
    async def test() -> None:
        async def stop() -> None:
            await wait_until((home.workspace / "began").exists)
            home.journal.request_control(home.session, "stop")
            await asyncio.Event().wait()

        text = (
            calls(bash("echo one"), bash("touch began; sleep 30"), bash("echo three"))
            + '<invoke name="bash">'
        )
        reply = say.reply(say.text(text), stop="stop_sequence")
        reply.insert(-3, stop)
        turn = await home.turn("go", reply)
        assert turn.state == "stopped"

    asyncio.run(test())
    answers = results(home.messages[2])
    assert [status for _, _, status, _ in answers] == ["ok", "error", "error", "error"]
    assert answers[1][3].startswith("Interrupted while running: stopped by the user.")
    assert [content.startswith("Not executed: stopped by the user") for *_, content in answers[2:]] == [
        True,
        True,
    ]
    assert home.messages[2]["content"][1]["text"].startswith("[This turn was interrupted")
    assert told(home).count("TOOL_CALL_RESULT") == told(home).count("TOOL_CALL_END") == 4
    assert all(message.keys() == {"role", "content"} for message in home.messages)
    assert home.problems() == []


def test_a_reply_that_breaks_off_is_gone_on_with_and_nothing_runs_twice(home: Any, say: Any) -> None:
    text = calls(bash("echo x >> runs"), bash("echo y >> runs"))
    broken = [*say.reply(say.text(text))[:-3], Fault("overloaded_error", "busy", mid_stream=True)]
    turn = go(home, broken, say.reply(say.text("done")))
    assert turn.state == "done"
    assert (home.workspace / "runs").read_text() == "x\n"
    ran, not_run = results(home.messages[2])
    assert ran[2] == "ok"
    assert not_run[3].startswith("Not executed")
    assert home.problems() == []


@pytest.mark.parametrize("started", [False, True])
def test_a_dead_instances_calls_are_answered_from_the_journal(house: Any, say: Any, started: bool) -> None:
    turn = house.journal.start_turn(house.session, "go")
    names = [{"id": f"{turn.id}.1.{n}", "name": "bash"} for n in (1, 2)]
    text = say.text(calls(bash("one"), bash("two")))
    house.journal.put_message(turn, 2, history.assistant([text], written=names))
    house.journal.record_call_started(turn, names[0]["id"], "bash", {})
    house.journal.record_call_result(turn, names[0]["id"], {"content": "one", "is_error": False})
    if started:
        house.journal.record_call_started(turn, names[1]["id"], "bash", {})
    assert [closed.id for closed in recover(house.journal, [turn])] == [turn.id]
    first, second = results(house.messages[2])
    assert first == ("bash", "1.1", "ok", "one")
    assert second[3].startswith("Interrupted while running" if started else "Not executed")
    assert house.messages[1] == {"role": "assistant", "content": [text]}
    assert [e.data["toolCallId"] for e in house.events if e.type == "TOOL_CALL_RESULT"] == [names[1]["id"]]
    assert house.problems() == []


def test_what_is_on_disk_when_a_call_runs_names_that_call(home: Any, say: Any, wait_until: Any) -> None:
    """A crash from then on must find it; each message is whole at every moment."""

    async def test() -> None:
        async def look() -> None:
            await wait_until((home.workspace / "began").exists)
            message = home.journal.messages(home.session)[1]
            (call,) = home.journal.calls(home.journal.running_turns()[0])
            assert call in [named["id"] for named in message["written"]]
            assert "touch began" in message["content"][0]["text"]

        reply = say.reply(say.text("x " + calls(bash("touch began"), "more")), stop="stop_sequence")
        reply.insert(-3, look)
        await home.turn("go", reply, say.reply(say.text("done")))

    asyncio.run(test())
    assert home.messages[1].keys() == {"role", "content"}


# Both ways in one session


def test_one_session_can_change_its_ways(house: Any, say: Any) -> None:
    """The strict validator of the played model accepts every request."""

    def native(call: str) -> tuple[Any, Any]:
        asked = say.reply(say.thinking("hm"), say.call(call, "bash", command="echo n"), stop="tool_use")
        return asked, say.reply(say.text("done"))

    def written() -> tuple[Any, Any]:
        asked = say.reply(say.thinking("hm"), say.text(calls(bash("echo w"))), stop="stop_sequence")
        return asked, say.reply(say.text("done"))

    async def test() -> None:
        for n, in_text in enumerate([False, True, False, True, True, False]):
            house.toggles |= {"use_xml_prompts": in_text, "use_response_chunking": n % 2 == 0}
            turn = await house.turn("go", *(written() if in_text else native(f"c{n}")))
            assert turn.state == "done"

    asyncio.run(test())
    assert house.problems() == []
    for asked in house.model.requests:
        assert ("stop_sequences" in asked) == (asked.get("tool_choice") == {"type": "none"})
        assert asked["tools"]
    assert any("stop_sequences" in asked for asked in house.model.requests)


def test_tools_are_not_offered_where_the_history_has_no_calls_of_theirs(home: Any, say: Any) -> None:
    go(home, say.reply(say.text("hello")))
    go(home, say.reply(say.text("again")))
    assert [asked.keys() & {"tools", "tool_choice"} for asked in home.model.requests] == [set(), set()]


# The sentence before a call


SENTENCE = "I'll now construct a complete function call for [bash]:\n"


def test_a_call_without_the_sentence_is_answered_with_what_to_do(home: Any, say: Any) -> None:
    home.toggles |= {"enforce_construction_prefix": True}
    bare = say.reply(say.text("Now: " + calls(bash("touch bare"))), stop="stop_sequence")
    good = say.reply(
        say.text(SENTENCE + calls(bash("touch good"), bash("touch second"))), stop="stop_sequence"
    )
    go(home, bare, good, say.reply(say.text("done")))
    assert [path.name for path in home.workspace.iterdir()] == ["good"]
    ((_, _, status, content),) = results(home.messages[2])
    assert status == "error"
    assert "write the sentence" in content
    assert SENTENCE.strip() in content
    assert [status for _, _, status, _ in results(home.messages[4])] == ["ok", "error"]


def test_a_reply_of_an_earlier_request_announces_nothing(home: Any, say: Any) -> None:
    home.toggles |= {"enforce_construction_prefix": True}
    first = say.reply(say.text(SENTENCE), stop="pause_turn")
    second = say.reply(say.text(calls(bash("touch x"))), stop="stop_sequence")
    go(home, first, second, say.reply(say.text("done")))
    assert not (home.workspace / "x").exists()


def test_without_enforcement_the_sentence_is_mere_text(home: Any, say: Any) -> None:
    go(home, say.reply(say.text(calls(bash("touch x"))), stop="stop_sequence"), say.reply(say.text("done")))
    assert (home.workspace / "x").exists()


# The prompt


def test_the_prompt_has_four_phases_and_examples_that_are_taken(home: Any, say: Any) -> None:
    """Each example, said by the model as it stands, is a call that passes validation."""
    from jsonschema import Draft202012Validator

    from dcops.agent.calls.xml import CallEnded, Parser

    definitions = default_registry().definitions()
    prompt = calls_in_text(definitions, announced=False)
    places = [prompt.index(phase) for phase in ("PLANNING", "CONSTRUCTION", "STRUCTURE", "VERIFICATION")]
    assert places == sorted(places)
    schemas = {definition["name"]: definition["input_schema"] for definition in definitions}
    for name, schema in schemas.items():
        example = prompt[prompt.index(f"## {name}\n") :]
        parser = Parser(schemas)
        (call,) = [
            action
            for action in parser.feed(example[example.index(OPEN) : example.index(CLOSE) + len(CLOSE)])
            if isinstance(action, CallEnded)
        ]
        assert call.fault is None
        assert list(Draft202012Validator(schema).iter_errors(call.input)) == []
    go(home, say.reply(say.text("hello")))
    sent = home.model.requests[0]["system"]
    assert prompt in (sent if isinstance(sent, str) else "".join(block["text"] for block in sent))


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 0.5}, None),
        ({"type": "integer", "minimum": 7}, "7"),
        ({"type": "boolean"}, "true"),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, "[1,1]"),
        ({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}, '{"a":"text"}'),
        ({"enum": ["b<c", "d"]}, "b&lt;c"),
        ({"const": 4}, "4"),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, "null"),
        ({"type": "string", "examples": ["/a"]}, "/a"),
    ],
)
def test_an_example_fits_any_schema(schema: dict[str, Any], value: str | None) -> None:
    definition = {
        "name": "t",
        "description": "d",
        "input_schema": {"type": "object", "properties": {"p": schema}, "required": ["p"]},
    }
    prompt = calls_in_text([definition], announced=True)
    found = re.findall(r'<parameter name="p">(.*)</parameter>', prompt)
    assert value is None or found == [value]
