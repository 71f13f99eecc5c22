"""Faults of the model's side over real HTTP: a turn asks again, goes on, or says why it ended."""

from typing import Any

import pytest

pytestmark = pytest.mark.slow  # a real instance imports the SDK first

TEXT = {"content": [{"type": "text", "text": "Hello there, and so on."}], "stop_reason": "end_turn"}
CALL = {
    "content": [
        {"type": "tool_use", "name": "bash", "input": {"command": "echo ran >> ran.txt"}},
        {"type": "text", "text": "that was it, and more to come"},
    ],
    "stop_reason": "tool_use",
}
SOON = {"headers": {"retry-after-ms": "1"}}


def customs(frames: list[Any], name: str) -> list[Any]:
    return [e["value"] for _, e in frames if e["type"] == "CUSTOM" and e["name"] == name]


def asked(scripted: Any) -> list[Any]:
    """The requests that came since the script was set; none of them may have been refused."""
    requests = scripted.model.requests(scripted.key)
    assert [request["problems"] for request in requests] == [[]] * len(requests)
    return [request["body"] for request in requests]


def ran(scripted: Any) -> int:
    """How often the call of the script ran since the last look."""
    files = list(scripted.workspace.rglob("ran.txt"))
    times = sum(len(path.read_text().split()) for path in files)
    for path in files:
        path.unlink()
    return times


@pytest.mark.parametrize(
    "fault",
    [
        {"error": {"status": 429, "type": "rate_limit_error", "message": "slower", **SOON}},
        {"error": {"status": 529, "type": "overloaded_error", "message": "Overloaded", **SOON}},
        {"error": {"status": 503, "type": "api_error", "message": "oops", **SOON}},
        {**TEXT, "error_after": 1},
        {**TEXT, "disconnect_after": 1},
        {**TEXT, "disconnect_after": {"bytes": 20}},
        {"events": [{"type": "ping"}]},
        {"sse": "event: message_start\ndata: {no json\n\n"},
    ],
    ids=["429", "529", "503", "error event", "cut", "cut within an event", "end", "no JSON"],
)
def test_h8_h9_a_fault_before_the_first_block_is_asked_again(scripted: Any, fault: dict[str, Any]) -> None:
    scripted.model.script(scripted.key, {"replies": [fault, TEXT], "after": "error"})
    frames = scripted.run(scripted.session(), "hello")
    assert frames[-1][1]["type"] == "RUN_FINISHED"
    assert [value["attempt"] for value in customs(frames, "retry")] == [1]
    first, second = asked(scripted)
    assert first == second


@pytest.mark.parametrize("fault", ["error_after", "disconnect_after", "stall_after"])
def test_h8_h9_h10_a_fault_behind_a_call_is_gone_on_with_and_the_call_does_not_run_twice(
    scripted: Any, fault: str
) -> None:
    broken = {**CALL, fault: 12, **({"hold": 30} if fault == "stall_after" else {})}
    scripted.model.script(scripted.key, {"replies": [broken, TEXT], "after": "error"})
    frames = scripted.run(scripted.session(stall_seconds=1), "hello")
    assert frames[-1][1]["type"] == "RUN_FINISHED"
    assert len(customs(frames, "reply.cut")) == 1
    assert ran(scripted) == 1
    behind = asked(scripted)[1]["messages"][-1]["content"]
    assert [block["type"] for block in behind] == ["tool_result", "text"]
    assert behind[1]["text"].startswith("[Your reply was cut off here by a fault: ")


def test_h18_streams_that_stall_before_their_first_event_lead_to_a_whole_reply(scripted: Any) -> None:
    silent = {**TEXT, "first_delay": 30}
    scripted.model.script(scripted.key, {"replies": [silent, silent, CALL, TEXT], "after": "error"})
    frames = scripted.run(scripted.session(stall_seconds=1, max_tokens=64_000), "hello")
    assert frames[-1][1]["type"] == "RUN_FINISHED"
    assert "asked for whole" in customs(frames, "retry")[-1]["reason"]
    assert [body["stream"] for body in asked(scripted)] == [True, True, False, False]
    assert ran(scripted) == 1


def test_use_unified_streaming_off_asks_for_whole_replies(scripted: Any) -> None:
    scripted.model.script(scripted.key, {"replies": [CALL, TEXT], "after": "error"})
    frames = scripted.run(scripted.session(use_unified_streaming=False), "hello")
    assert frames[-1][1]["type"] == "RUN_FINISHED"
    assert [body["stream"] for body in asked(scripted)] == [False, False]
    assert ran(scripted) == 1


def test_what_is_refused_ends_the_turn_with_the_reason(scripted: Any) -> None:
    refused = {"error": {"status": 400, "type": "invalid_request_error", "message": "prompt is too long"}}
    scripted.model.script(scripted.key, {"replies": [refused, TEXT], "after": "error"})
    session = scripted.session()
    frames = scripted.run(session, "hello")
    assert frames[-1][1] == {
        "type": "RUN_ERROR",
        "message": "prompt is too long",
        "code": "invalid_request_error",
    }
    assert len(asked(scripted)) == 1
    assert scripted.run(session, "again", after=len(frames))[-1][1]["type"] == "RUN_FINISHED"


def test_a_repeated_post_while_a_reply_is_gone_on_with_makes_no_second_reply(scripted: Any) -> None:
    scripted.model.script(scripted.key, {"replies": [{**CALL, "error_after": 12}, TEXT], "after": "error"})
    session = scripted.session()
    turns = {scripted.turn(session, "hello", **{"Idempotency-Key": "k"}) for _ in range(3)}
    frames = scripted.until_end(session)
    turns.add(scripted.turn(session, "hello", **{"Idempotency-Key": "k"}))
    assert len(turns) == 1
    assert frames[-1][1]["type"] == "RUN_FINISHED"
    assert scripted.until_end(session, len(frames) - 2) == frames[-2:]
    assert len(asked(scripted)) == 2
    scripted.run(session, "more", after=len(frames))  # answered by nobody, but its request tells the history
    roles = [message["role"] for message in scripted.model.requests(scripted.key)[-1]["body"]["messages"]]
    assert roles == ["user", "assistant", "user", "assistant", "user"]
    assert ran(scripted) == 1
