from __future__ import annotations

from typing import Any

import pytest

from dcops.agent.model.history import (
    Outcome,
    assistant,
    calls,
    closing,
    for_request,
    interrupted,
    results,
    resumable,
    user,
)


def _call(call: str, **more: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call, "name": "bash", "input": {}, **more}


TEXT = {"type": "text", "text": "hello"}
SIGNED = {"type": "thinking", "thinking": "", "signature": "s"}
SERVER = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}}
ANSWER = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []}


def test_a_reply_keeps_its_blocks_their_order_and_their_bytes() -> None:
    redacted = {"type": "redacted_thinking", "data": "x"}
    blocks = [SIGNED, redacted, TEXT, _call("a"), SERVER, ANSWER, {"type": "hologram"}, TEXT]
    message = assistant(blocks)
    assert message == {"role": "assistant", "content": blocks}
    assert calls(message) == [_call("a")]


@pytest.mark.parametrize(
    "left_out",
    [
        {"type": "thinking", "thinking": "cut", "signature": ""},
        {"type": "thinking", "thinking": "cut"},
        {"type": "text", "text": " \n"},
        {"type": "text", "text": ""},
    ],
)
def test_what_the_api_refuses_is_left_out(left_out: dict[str, Any]) -> None:
    assert assistant([left_out, TEXT]) == {"role": "assistant", "content": [TEXT]}
    assert assistant([left_out]) is None


def test_thinking_alone_says_nothing() -> None:
    assert assistant([SIGNED]) is None
    assert assistant([]) is None
    assert calls(None) == []


def test_a_cut_reply_loses_a_servers_call_without_result_and_no_other() -> None:
    assert assistant([TEXT, SERVER], cut=True) == {"role": "assistant", "content": [TEXT]}
    assert assistant([TEXT, SERVER]) == {"role": "assistant", "content": [TEXT, SERVER]}
    both = [SERVER, ANSWER, _call("a")]
    assert assistant(both, cut=True) == {"role": "assistant", "content": both}


def test_results_come_first_one_per_call_in_order() -> None:
    message = {"role": "assistant", "content": [_call("b"), TEXT, _call("a", toolset_name="computer")]}
    answer = results(message, {"a": Outcome("A"), "b": Outcome("", is_error=True)}, [TEXT])
    assert answer["content"] == [
        {"type": "tool_result", "tool_use_id": "b", "content": [_text("[no output]")], "is_error": True},
        {"type": "tool_result", "tool_use_id": "a", "toolset_name": "computer", "content": [_text("A")]},
        TEXT,
    ]


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def test_a_closing_says_what_became_of_each_call() -> None:
    message = {"role": "assistant", "content": [_call("done"), _call("begun"), _call("never")]}
    told = closing(message, {"done": Outcome("42")}, ["done", "begun"], "the power went")
    texts = [block.get("text") or block["content"][0]["text"] for block in told["content"]]
    assert texts[0] == "42"
    assert texts[1].startswith("Interrupted while running: the power went")
    assert texts[2] == "Not executed: the power went."
    assert texts[3] == "[This turn was interrupted: the power went.]"
    assert told == closing(message, {"done": Outcome("42")}, ["begun", "done"], "the power went")


def test_a_closing_without_calls_only_says_why() -> None:
    assert closing(None, {}, [], "x")["content"] == [_text("[This turn was interrupted: x.]")]


def test_partial_output_is_told() -> None:
    assert interrupted("x", "half").content.endswith("so far:\nhalf")


def test_neighbours_of_one_role_are_joined_and_the_history_is_left_alone() -> None:
    said = [user("a"), user([TEXT]), {"role": "assistant", "content": [TEXT]}, user("b")]
    before = [dict(message) for message in said]
    joined = for_request(said)
    assert [message["role"] for message in joined] == ["user", "assistant", "user"]
    assert joined[0]["content"] == [_text("a"), TEXT]
    assert said == before


def test_words_alone_are_no_reply_that_the_api_resumes() -> None:
    assert not resumable(None)
    assert not resumable({"role": "assistant", "content": [SIGNED, TEXT]})
    assert resumable({"role": "assistant", "content": [TEXT, SERVER]})
