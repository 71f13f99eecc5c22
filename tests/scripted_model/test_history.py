from __future__ import annotations

from typing import Any

import pytest

from dcops.scripted_model.issued import Issued, sign
from dcops.scripted_model.validator import validate

THOUGHT = {"type": "thinking", "thinking": "I must list.", "signature": "sig-1"}
HIDDEN = {"type": "redacted_thinking", "data": "xyz"}


def call(name: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": name, "name": "bash", "input": {}}


def result(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": name, "content": "ok"} | more


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def problems(*said: Any, issued: Issued | None = None, thinking: bool = False, model: str = "m") -> list[str]:
    """What is wrong with a conversation that starts with a question and goes on in turns."""
    roles = ["assistant", "user"] * len(said)
    messages = [{"role": "user", "content": "hi"}]
    messages += [{"role": role, "content": content} for role, content in zip(roles, said, strict=False)]
    request: dict[str, Any] = {"model": model, "max_tokens": 4096, "messages": messages}
    if thinking:
        request["thinking"] = {"type": "enabled", "budget_tokens": 1024}
    return validate(request, issued)


@pytest.mark.parametrize(
    "said",
    [
        (),
        ("hello", "and?"),
        ([call("a")], [result("a")]),
        ([text("so"), call("a"), call("b")], [result("b"), result("a"), text("also this")]),
        (
            [call("a")],
            [result("a", content=[text("x")], is_error=True)],
            [call("b")],
            [result("b", content="")],
        ),
        ([THOUGHT, HIDDEN, call("a")], [result("a")]),
        ([THOUGHT | {"thinking": ""}, text("x")], "more"),
        ([{"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}, text("x")],),
        ([call("a") | {"caller": None, "toolset_name": "t"}], [result("a", toolset_name="t")]),
        ([{"type": "fallback", "anything": 1}, text("x")], "more"),
    ],
)
@pytest.mark.parametrize("thinking", [True, False])
def test_what_the_api_takes_is_taken(said: tuple[Any, ...], thinking: bool) -> None:
    assert problems(*said, thinking=thinking) == []


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (
            ([call("a")],),
            "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: a",
        ),
        (([call("a")], "go on"), "messages.2: `tool_use` ids were found without"),
        (
            ([call("a"), call("b")], [result("a")]),
            "messages.2: `tool_use` ids were found without `tool_result` blocks",
        ),
        (([call("a")], [text("so"), result("a")]), "messages.2: `tool_use` ids were found without"),
        (
            ([call("a")], [result("a"), result("a")]),
            "messages.2.content.1: each tool_use must have a single result",
        ),
        (([call("a")], [result("a"), result("b")]), "messages.2.content.1: unexpected `tool_use_id` found"),
        (("done", [result("a")]), "messages.2.content.0: unexpected `tool_use_id` found"),
        (
            ([call("a")], [result("a")], [call("a")], [result("a")]),
            "messages.3: `tool_use` ids must be unique",
        ),
        (
            ([call("a")], [result("a", content="", is_error=True)]),
            "messages.2.content.0.tool_result: content cannot be",
        ),
        (
            ([call("a")], [result("a", is_error="yes")]),
            "messages.2.content.0.tool_result.is_error: Input should be",
        ),
        (([call("a")], [result("a", content=[text("")])]), "messages: text content blocks must be non-empty"),
        (
            ([call("a")], [result("a", content=3)]),
            "messages.2.content.0.tool_result.content: Input should be",
        ),
        (([call("a b")], [result("a b")]), "messages.1.content.0.tool_use.id: String should match pattern"),
        (
            ([call("a") | {"input": "x"}], [result("a")]),
            "messages.1.content.0.tool_use.input: Input should be a valid",
        ),
        (([call("a") | {"index": 1}], [result("a")]), "messages.1.content.0.tool_use.index: Extra inputs"),
        (([text("")], "more"), "messages: text content blocks must be non-empty"),
        (([text(" \n")], "more"), "messages: text content blocks must contain non-whitespace text"),
        (
            ([text("x") | {"parsed_output": None}], "more"),
            "messages.1.content.0.text.parsed_output: Extra inputs",
        ),
        ((["x"], "more"), "messages.1.content.0.type: Field required"),
        (("", "more"), "messages.1: assistant messages must have non-empty content"),
        (([], "more"), "messages.1: assistant messages must have non-empty content"),
        ((None, "more"), "messages.1.content: Field required"),
        ((3, "more"), "messages.1.content: Input should be a valid list"),
        (
            ([THOUGHT | {"signature": ""}], "more"),
            "messages.1.content.0.thinking.signature: Invalid `signature`",
        ),
        (
            ([{"type": "thinking", "thinking": "x"}], "more"),
            "messages.1.content.0.thinking.signature: Field required",
        ),
        (
            ("x", [THOUGHT]),
            "messages.2.content.0: `thinking` blocks are only allowed in `assistant` messages",
        ),
        (
            ([result("a")], "x"),
            "messages.1.content.0: `tool_result` blocks are only allowed in `user` messages",
        ),
        (("The answer is ",), "messages: final assistant content cannot end with trailing whitespace"),
    ],
)
def test_what_the_api_refuses_is_refused_in_its_words(said: tuple[Any, ...], problem: str) -> None:
    found = problems(*said)
    assert len(found) == 1
    assert found[0].startswith(problem)


def test_a_conversation_starts_with_the_user() -> None:
    request = {"model": "m", "max_tokens": 9, "messages": [{"role": "assistant", "content": "hi"}]}
    assert validate(request) == ['messages: first message must use the "user" role']


def test_messages_of_one_role_in_a_row_are_one() -> None:
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "hi"},
        {"role": "user", "content": [text("there")]},
        {"role": "assistant", "content": [call("a")]},
        {"role": "assistant", "content": [call("b")]},
        {"role": "user", "content": [result("a")]},
        {"role": "user", "content": [result("b")]},
    ]
    assert validate({"model": "m", "max_tokens": 9, "messages": messages}) == []


def test_unknown_roles_and_fields_of_messages_are_refused() -> None:
    messages = [{"role": "tool", "content": "x"}, {"role": "user", "content": "x", "id": "m"}]
    assert validate({"model": "m", "max_tokens": 9, "messages": messages}) == [
        "messages.0.role: Input should be 'user', 'assistant' or 'system'",
        "messages.1.id: Extra inputs are not permitted",
    ]


def test_a_new_model_takes_no_prefill() -> None:
    assert problems("The answer is", model="claude-haiku-4-5") == []
    (problem,) = problems("The answer is", model="claude-sonnet-5")
    assert problem.startswith("This model does not support assistant message prefill.")


@pytest.fixture
def issued() -> Issued:
    memory = Issued()
    memory.remember([THOUGHT, HIDDEN, call("a"), call("b")])
    memory.remember([call("plain")])
    return memory


BOTH = [result("a"), result("b")]


def test_thinking_that_comes_back_unchanged_is_taken(issued: Issued) -> None:
    assert problems([THOUGHT, HIDDEN, call("a"), call("b")], BOTH, thinking=True, issued=issued) == []
    assert problems([call("plain")], [result("plain")], thinking=True, issued=issued) == []


@pytest.mark.parametrize(
    "changed",
    [
        [HIDDEN, THOUGHT],
        [THOUGHT],
        [THOUGHT, HIDDEN | {"data": "abc"}],
        [THOUGHT, HIDDEN, HIDDEN],
        [THOUGHT | {"signature": "sig-2"}, HIDDEN],
    ],
)
def test_changed_thinking_in_the_open_loop_is_refused(issued: Issued, changed: list[dict[str, Any]]) -> None:
    (problem,) = problems([*changed, call("a"), call("b")], BOTH, thinking=True, issued=issued)
    assert problem.startswith("messages.1.content.0: `thinking` or `redacted_thinking` blocks in the latest")


def test_a_reply_that_goes_on_behind_a_paused_one_has_thinking_of_its_own(issued: Issued) -> None:
    search = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    other = {**THOUGHT, "signature": "sig-0"}
    both = [other, search, THOUGHT, HIDDEN, call("a"), call("b")]
    assert problems(both, BOTH, thinking=True, issued=issued) == []
    assert problems([other, search, call("plain")], [result("plain")], thinking=True, issued=issued) == []
    assert problems([other, search, HIDDEN, *both[-2:]], BOTH, thinking=True, issued=issued)
    assert problems([other, call("plain")], [result("plain")], thinking=True, issued=issued)


def test_dropped_thinking_in_the_open_loop_is_refused(issued: Issued) -> None:
    (problem,) = problems([call("a"), call("b")], BOTH, thinking=True, issued=issued)
    assert problem.startswith(
        "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`"
    )


def test_dropped_thinking_is_taken_once_the_loop_is_over_or_thinking_is_off(issued: Issued) -> None:
    said = ([call("a"), call("b")], BOTH)
    assert problems(*said, thinking=False, issued=issued) == []
    assert problems(*said, "done", "and now?", thinking=True, issued=issued) == []


def test_the_text_must_be_what_its_signature_was_issued_for(issued: Issued) -> None:
    (problem,) = problems([THOUGHT | {"thinking": "I must not."}], "more", issued=issued)
    assert problem == "messages.1.content.0: Invalid `signature` in `thinking` block"


def test_own_signatures_hold_without_memory() -> None:
    own = {"type": "thinking", "thinking": "x", "signature": sign("x")}
    assert problems([own], "more") == []
    assert problems([own | {"thinking": "y"}], "more") != []


def test_unsigned_thinking_that_was_sent_out_is_not_asked_back() -> None:
    memory = Issued()
    memory.remember([{"type": "thinking", "thinking": "cut", "signature": ""}, call("a")])
    assert problems([call("a")], [result("a")], thinking=True, issued=memory) == []
