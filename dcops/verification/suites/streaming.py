"""A turn while it runs: what comes early, what comes at all, and how it ends."""

from __future__ import annotations

import time
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from dcops.verification.conversation import RUN_ENDS, joined, kind_of, of_kind
from dcops.verification.expectations import eventually, expect
from dcops.verification.model import call, reply, text, thinking
from dcops.verification.reach import wait_until_ready

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dcops.client import Client, Event
    from dcops.core.verification import Target
    from dcops.verification.conversation import Conversation
    from dcops.verification.model import Model
    from dcops.verification.toggles import Toggles
    from dcops.verification.twin import Twin

WORDS = "The quick brown fox jumps over the lazy dog, and nobody is hurt: schön, 你好, 🦊."
TEXT = "TEXT_MESSAGE_CONTENT"
RESULT = "TOOL_CALL_RESULT"
STOP_SECONDS = 0.25
ASKED_SECONDS = 5.0

Numbered = tuple[int | None, "Event"]


def test_text_as_scripted(model: Model, conversation: Conversation) -> None:
    model.replies(reply(text(WORDS), chunk=7, delay=0.01))
    events = conversation.ask("Tell me about the fox.")
    expect("text of the answer", expected=WORDS, got=joined(events, TEXT))
    expect("end of the turn", expected="RUN_FINISHED", got=kind_of(events[-1]))
    assert len(of_kind(events, TEXT)) > 1, "text of the answer: expected several pieces, got one"


def test_text_while_the_model_writes(model: Model, conversation: Conversation) -> None:
    # The model holds in the middle of its text until the first piece was seen here.
    model.replies(reply(text(WORDS), chunk=7, stall_after=5, gate="seen"))
    conversation.say("Tell me about the fox.")
    conversation.wait_for("text while the model still writes", lambda event: kind_of(event) == TEXT)
    model.open("seen")
    expect("text of the answer", expected=WORDS, got=joined(conversation.finish(), TEXT))


def test_thinking(model: Model, conversation: Conversation, toggles: Toggles) -> None:
    if toggles.get("use_streaming_thinking") is False:
        pytest.skip("use_streaming_thinking is off in this environment")
    model.replies(reply(thinking("First the fox, then the dog."), text("The fox."), chunk=6))
    events = conversation.ask("Who jumps?")
    shown = joined(events, "REASONING_MESSAGE_CONTENT")
    expect("thinking", expected="First the fox, then the dog.", got=shown)
    expect("text after the thinking", expected="The fox.", got=joined(events, TEXT))


def test_tool_runs(model: Model, conversation: Conversation, bash: str) -> None:
    model.replies(
        reply(text("I look."), call("call_1", bash, command="echo one; echo two >&2; exit 3")),
        reply(text("Done.")),
    )
    events = conversation.ask("Count to two.")
    results = of_kind(events, RESULT)
    expect("calls with a result", expected=["call_1"], got=[each["toolCallId"] for each in results])
    for word in ("one", "two"):
        assert word in results[0]["content"], f"result: expected {word!r}, got {results[0]['content']!r}"
    expect("text after the call", expected="I look.Done.", got=joined(events, TEXT))
    _expect_results(model.requests()[1], {"call_1"})


def test_output_while_the_tool_runs(
    model: Model, conversation: Conversation, bash: str, toggles: Toggles
) -> None:
    if toggles.get("use_streaming_bash") is False:
        pytest.skip("use_streaming_bash is off in this environment")
    command = "echo early; sleep 0.4; echo late"
    model.replies(reply(call("call_1", bash, command=command)), reply(text("Done.")))
    conversation.say("Take your time.")
    early = conversation.wait_for("output of the command", lambda event: kind_of(event) == "tool.output")
    late = conversation.wait_for("the result of the command", lambda event: kind_of(event) == RESULT)
    assert late.at - early.at > 0.2, (
        "output of a command that waits 0.4 s: expected its first line well before its result, "
        f"got both within {late.at - early.at:.3f} s"
    )
    output = joined(conversation.finish(), "tool.output")
    expect("whole output", expected=["early", "late"], got=output.split())


def test_two_calls(model: Model, conversation: Conversation, bash: str) -> None:
    calls = [call(f"call_{word}", bash, command=f"echo {word}") for word in ("left", "right")]
    model.replies(reply(*calls), reply(text("Done.")))
    events = conversation.ask("Both, please.")
    results = {each["toolCallId"]: each["content"].strip() for each in of_kind(events, RESULT)}
    expect("number of results", expected=2, got=len(of_kind(events, RESULT)))
    for word in ("left", "right"):
        got = results.get(f"call_{word}", "none")
        assert word in got, f"result of call_{word}: expected {word!r}, got {got!r}"
    _expect_results(model.requests()[1], {"call_left", "call_right"})


def test_unknown_tool(model: Model, conversation: Conversation) -> None:
    model.replies(reply(call("call_1", "no_such_tool", x=1)), reply(text("I see.")))
    events = conversation.ask("Use something else.")
    expect("calls with a result", expected=1, got=len(of_kind(events, RESULT)))
    block = _expect_results(model.requests()[1], {"call_1"})[0]
    expect("is_error in the result of a call of an unknown tool", expected=True, got=block.get("is_error"))
    expect("text after the call", expected="I see.", got=joined(events, TEXT))


def test_history_accepted(model: Model, conversation: Conversation, bash: str) -> None:
    model.replies(
        reply(thinking("A tool helps."), call("call_1", bash, command="echo one"), chunk=5),
        reply(thinking("Again."), text("And again."), call("call_2", bash, command="true")),
        reply(text("Done.")),
        reply(text("Still here.")),
    )
    for words, answer in {"Work.": "And again.Done.", "Are you there?": "Still here."}.items():
        events = conversation.ask(words)
        expect(f"end of the turn {words!r}", expected="RUN_FINISHED", got=_ending(events))
        expect(f"text of the turn {words!r}", expected=answer, got=joined(events, TEXT))
    expect("problems that the model's API has with the requests", expected=[], got=model.problems())


def test_model_error_ends_the_turn(model: Model, conversation: Conversation) -> None:
    model.replies(reply(text(WORDS), chunk=7, error_after=5), reply(text("Back again.")))
    events = conversation.ask("Tell me about the fox.")
    got = joined(events, TEXT)
    said = WORDS.startswith(got) or got.endswith("Back again.")
    assert said, f"text: expected what the model said before its error, got {got!r}"
    model.replies(reply(text("Back again.")))
    events = conversation.ask("Once more.")
    expect("text of the next turn", expected="Back again.", got=joined(events, TEXT))


def test_model_refuses(model: Model, conversation: Conversation) -> None:
    refusal = {"status": 400, "type": "invalid_request_error", "message": "scripted refusal"}
    model.replies({"error": refusal})
    events = conversation.ask("Tell me about the fox.")
    ending = events[-1]
    expect("end of a turn that the model's API refused", expected="RUN_ERROR", got=kind_of(ending))
    assert ending.get("message"), f"RUN_ERROR: expected a message for people, got {ending}"


def test_resume(agent: Client, model: Model, conversation: Conversation) -> None:
    model.replies(reply(text(WORDS * 3), chunk=3, stall_after=40, gate="left"))
    conversation.say("Tell me about the fox.")
    conversation.wait_for("text", lambda event: kind_of(event) == TEXT)
    left = agent.stream(conversation.id)
    last = [next(left)[0] or 0, next(left)[0] or 0][-1]
    left.close()
    resumed = agent.stream(conversation.id, last)
    seen = [next(resumed)]  # it is connected while the turn still runs
    model.open("left")
    seen += _until_the_end(resumed)
    conversation.finish()
    wanted = [each.seq for each in conversation.run]
    expect("sequence numbers of a turn", expected=sorted({*wanted}), got=wanted)
    _expect_numbers(last, wanted, seen)
    for after in (0, last):
        _expect_numbers(after, wanted, _until_the_end(agent.stream(conversation.id, after)))
    whole = joined([event for _, event in _until_the_end(agent.stream(conversation.id))], TEXT)
    expect("text when it is read again", expected=WORDS * 3, got=whole)


def test_stop_while_the_model_writes(agent: Client, model: Model, conversation: Conversation) -> None:
    def begin() -> None:
        model.replies(reply(text(WORDS), chunk=7, stall_after=5, gate="never"))
        conversation.say("Tell me about the fox.")
        conversation.wait_for("text", lambda event: kind_of(event) == TEXT)

    _expect_stop(agent, conversation, begin)
    model.replies(reply(text("Back again.")))
    expect("text after a stop", expected="Back again.", got=joined(conversation.ask("And now?"), TEXT))


def test_stop_before_the_model_says_anything(agent: Client, model: Model, conversation: Conversation) -> None:
    def begin() -> None:
        model.replies(reply(text(WORDS), stall_after=0, gate="never"))
        conversation.say("Tell me about the fox.")
        conversation.wait_for("the start of the turn", lambda event: kind_of(event) == "RUN_STARTED")
        eventually("requests to the model", lambda: len(model.requests()), expected=1, seconds=ASKED_SECONDS)

    _expect_stop(agent, conversation, begin)
    model.replies(reply(text("Back again.")))
    expect("text after a stop", expected="Back again.", got=joined(conversation.ask("And now?"), TEXT))


def test_stop_while_a_tool_runs(agent: Client, model: Model, conversation: Conversation, bash: str) -> None:
    numbers = count(1)

    def begin() -> None:
        # Each attempt calls by another id: the API refuses a history with two calls of one id.
        waiting = call(f"call_{next(numbers)}", bash, command="echo begun; sleep 60")
        model.replies(reply(waiting), reply(text("Done.")))
        conversation.say("Wait a minute.")
        conversation.wait_for("the start of the command", lambda event: kind_of(event) == "tool.started")

    events = _expect_stop(agent, conversation, begin)
    expect("results of the stopped call", expected=1, got=len(of_kind(events, RESULT)))
    model.replies(reply(text("Back again.")))
    expect("text after a stop", expected="Back again.", got=joined(conversation.ask("And now?"), TEXT))


def test_same_key_same_turn(agent: Client, model: Model, conversation: Conversation) -> None:
    model.replies(reply(text("Once."), stall_after=2, gate="asked"))
    turns = {agent.start_turn(conversation.id, "Just once.", "one-key") for _ in range(2)}
    model.open("asked")
    conversation.finish()
    expect("turns started with one Idempotency-Key", expected=1, got=len(turns))
    expect("requests to the model", expected=1, got=len(model.requests()))


@pytest.mark.usefixtures("restarts")
def test_crash_closes_the_turn(
    agent: Client, model: Model, conversation: Conversation, twin: Twin, target: Target
) -> None:
    model.replies(reply(text(WORDS), chunk=7, stall_after=5, gate="never"))
    conversation.say("Tell me about the fox.")
    conversation.wait_for("text", lambda event: kind_of(event) == TEXT)
    twin.kill()
    wait_until_ready(agent, target.ready_seconds)
    conversation.finish(target.ready_seconds)
    model.replies(reply(text("Back again.")))
    expect("text after a crash", expected="Back again.", got=joined(conversation.ask("And now?"), TEXT))


def _expect_stop(agent: Client, conversation: Conversation, begin: Any) -> list[Event]:
    """Stop up to three turns; the fastest counts, since a busy machine may hold up any one of them."""
    taken = []
    for _ in range(3):
        begin()
        asked = time.monotonic()
        agent.stop(conversation.id)
        ended = conversation.wait_for("the end of the turn", lambda event: event["type"] in RUN_ENDS)
        taken.append(ended.at - asked)
        if taken[-1] <= STOP_SECONDS:
            return [each.event for each in conversation.run]
    raise AssertionError(f"end after stop: expected within {STOP_SECONDS} s, got {min(taken):.3f} s at best")


def _expect_results(request: dict[str, Any], calls: set[str]) -> list[dict[str, Any]]:
    """The results in the last message of a request: one for each of these calls."""
    content = request["messages"][-1]["content"]
    blocks = [block for block in content if isinstance(block, dict) and block.get("type") == "tool_result"]
    got = sorted(block["tool_use_id"] for block in blocks)
    expect("results that the model gets", expected=sorted(calls), got=got)
    return blocks


def _until_the_end(stream: Iterable[Numbered]) -> list[Numbered]:
    """The events of one connection up to the end of a turn."""
    seen = []
    for each in stream:
        seen.append(each)
        if each[1]["type"] in RUN_ENDS:
            break
    return seen


def _expect_numbers(after: int, wanted: list[int], seen: list[Numbered]) -> None:
    expect(
        f"sequence numbers after Last-Event-ID {after}",
        expected=[number for number in wanted if number > after],
        got=[number for number, _ in seen if number is not None],
    )


def _ending(events: list[Event]) -> str:
    last = events[-1]
    return f"{last['type']} ({last['message']})" if last.get("message") else str(last["type"])
