"""Each declared toggle: its default, its flip, its refusals, and what it does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from dcops.core.toggles import digest, effective, master, validate
from dcops.errors import NotFound, PreconditionMissing
from dcops.verification.conversation import joined, of_kind
from dcops.verification.expectations import eventually, expect
from dcops.verification.model import call, reply, text, thinking

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dcops.client import Client
    from dcops.core.verification import Target
    from dcops.verification.conversation import Conversation
    from dcops.verification.model import Model
    from dcops.verification.toggles import Toggles

NOTICE_SECONDS = 5.0
SEEN: dict[str, Callable[[dict[str, Any]], bool]] = {
    "use_unified_streaming": lambda request: bool(request.get("stream")),
    "use_prompt_caching": lambda request: "cache_control" in json.dumps(request),
    "use_xml_prompts": lambda request: not request.get("tools"),
}
"""Toggles that change the request to the model: whether one was made with the toggle on."""


def test_default(toggle: str, target: Target) -> None:
    declaration = target.schema["properties"][toggle]
    assert "default" in declaration, f"{toggle}: expected a default in the schema, got none"
    _expect_valid(toggle, declaration, declaration["default"])


def test_values_given(target: Target) -> None:
    if not target.schema:
        pytest.skip("this implementation declares no toggles")
    for name, value in target.values.items():
        declared = target.schema["properties"]
        assert name in declared, f"{name}: expected a declared toggle, got one that the schema does not know"
        _expect_valid(name, declared[name], value)


def test_in_force(agent: Client, toggles: Toggles) -> None:
    wanted = effective(toggles.values, toggles.schema)
    try:
        values = agent.toggles()["values"]
    except NotFound:
        pytest.skip("this implementation has no /v1/toggles")
    expect("values in GET /v1/toggles", expected=wanted, got=values)


def test_flip(toggle: str, agent: Client, toggles: Toggles) -> None:
    other = another_value(toggle, toggles)
    toggles.set(**{toggle: other})
    try:
        got = agent.toggles()["values"][toggle]
    except NotFound:
        return  # the acknowledgement is all there is to see
    expect(f"{toggle} in GET /v1/toggles", expected=other, got=got)


def test_bad_value_refused(toggle: str, toggles: Toggles) -> None:
    for value in bad_values(toggles.declared[toggle]):
        _expect_refused(toggles, f"{toggle} = {value!r}", {toggle: value})


def test_rules_refused(toggles: Toggles) -> None:
    for name, declared in toggles.declared.items():
        needed, other = declared.get("x-needs"), declared.get("x-less-than")
        if needed and declared["type"] == "boolean":
            _expect_refused(toggles, f"{name} on and {needed} off", {name: True, needed: False})
        if other:
            most = min(toggles.get(other), declared.get("maximum", toggles.get(other)))
            values = {name: most, other: most} | ({needed: True} if needed else {})
            _expect_refused(toggles, f"{name} no less than {other}", toggles.changed(values))


def test_master_switch(toggles: Toggles, agent: Client, conversation: Conversation) -> None:
    switch = master(toggles.schema)
    if not switch:
        pytest.skip("this implementation declares no master switch")
    toggles.set(**{switch: False})
    with pytest.raises(PreconditionMissing) as refused:
        conversation.say("Are you there?")
    expect(f"refusal of a turn with {switch} off", expected="DC-TURNS-OFF", got=refused.value.code)
    expect(f"GET /readyz with {switch} off", expected=(True, []), got=agent.ready())


def test_unknown_toggle_refused(toggles: Toggles) -> None:
    _expect_refused(toggles, "an unknown toggle", {"no_such_toggle": 1})


def test_wrong_digest_refused(toggles: Toggles) -> None:
    _expect_refused(toggles, "a digest of other values", digest=digest({"another": "document"}))


def test_streaming_bash(toggles: Toggles, model: Model, conversation: Conversation, bash: str) -> None:
    _need(toggles, "use_streaming_bash")
    for value in (True, False):
        toggles.set(use_streaming_bash=value)
        model.replies(reply(call(f"call_{value}", bash, command="echo seen")), reply(text("done")))
        events = conversation.ask("Say seen.")
        live = joined(events, "tool.output")
        expect(
            f"output shown while the command runs, with use_streaming_bash {value}",
            expected="seen" if value else "",
            got=live.strip(),
        )
        result = of_kind(events, "TOOL_CALL_RESULT")[0]["content"]
        assert "seen" in result, f"result of the command: expected its output 'seen', got {result!r}"


def test_streaming_thinking(toggles: Toggles, model: Model, conversation: Conversation) -> None:
    _need(toggles, "use_streaming_thinking")
    for value in (True, False):
        toggles.set(use_streaming_thinking=value)
        model.replies(reply(*([thinking("Let me see.")] if value else []), text("Seen.")))
        events = conversation.ask("Look.")
        thought = model.requests()[0].get("thinking", {})
        # Models that always think are asked to do so unseen.
        asked = thought.get("type") in {"enabled", "adaptive"} and thought.get("display") != "omitted"
        expect(f"thinking asked of the model, with use_streaming_thinking {value}", expected=value, got=asked)
        shown = joined(events, "REASONING_MESSAGE_CONTENT")
        expect(
            f"thinking shown, with use_streaming_thinking {value}",
            expected="Let me see." if value else "",
            got=shown,
        )


def test_response_chunking(toggles: Toggles, model: Model, conversation: Conversation, bash: str) -> None:
    _need(toggles, "use_response_chunking")
    for value in (True, False):
        toggles.set(use_response_chunking=value)
        model.replies(reply(call(f"call_{value}", bash, command="true")), reply(text("done")))
        events = conversation.ask("Do nothing.")
        expect("calls with a result", expected=1, got=len(of_kind(events, "TOOL_CALL_RESULT")))
        asked = len(model.requests())
        expect(f"requests, with use_response_chunking {value}", expected=2 if value else 1, got=asked)


def test_most_requests(toggles: Toggles, model: Model, conversation: Conversation, bash: str) -> None:
    _need(toggles, "max_requests_per_turn")
    toggles.set(max_requests_per_turn=1)
    model.replies(reply(call("call_1", bash, command="true")), reply(text("done")))
    events = conversation.ask("Do nothing.")
    expect("requests, with max_requests_per_turn 1", expected=1, got=len(model.requests()))
    expect("end of the turn", expected="RUN_FINISHED", got=events[-1]["type"])


@pytest.mark.parametrize("name", SEEN)
def test_seen_in_the_request(
    name: str, toggles: Toggles, model: Model, conversation: Conversation, bash: str
) -> None:
    del bash  # where no tools are offered, they cannot be told in words either
    _need(toggles, name)
    for value in (True, False):
        toggles.set(**{name: value})
        model.replies(reply(text("Seen.")))
        conversation.ask("Look.")
        expect(f"the next request, with {name} {value}", expected=value, got=SEEN[name](model.requests()[0]))


def test_reach_the_model(toggles: Toggles, model: Model, conversation: Conversation) -> None:
    wanted = {"api_model": "claude-opus-4-6", "max_tokens": 4321}
    for name in wanted:
        _need(toggles, name)
    small = {"thinking_budget": 1024} if "thinking_budget" in toggles.declared else {}
    toggles.set(**wanted, **small)
    model.replies(reply(text("Seen.")))
    conversation.ask("Look.")
    request = model.requests()[0]
    got = {"api_model": request["model"], "max_tokens": request["max_tokens"]}
    expect("model and max_tokens of the next request", expected=wanted, got=got)


def another_value(name: str, toggles: Toggles) -> Any:
    """A valid value that differs from the one in force; skips where the schema does not tell one."""
    declaration, value = toggles.declared[name], toggles.get(name)
    numbers = [declaration[bound] for bound in ("minimum", "maximum") if bound in declaration]
    candidates = [*declaration.get("enum", []), *numbers, declaration["default"]]
    if declaration.get("type") == "boolean":
        candidates = [not value]
    for candidate in candidates:
        if candidate != value and not validate(toggles.changed({name: candidate}), toggles.schema):
            return candidate
    if isinstance(value, str):
        other = f"{value}-other"
        if Draft202012Validator(declaration).is_valid(other):
            return other
    pytest.skip("the schema names no second value")


def bad_values(declaration: Mapping[str, Any]) -> list[Any]:
    """Values that the declaration rules out: another type, and out of range."""
    wrong = [["a list"]]
    wrong += [declaration["minimum"] - 1] if "minimum" in declaration else []
    wrong += [declaration["maximum"] + 1] if "maximum" in declaration else []
    return [value for value in wrong if not Draft202012Validator(declaration).is_valid(value)]


def _expect_refused(
    toggles: Toggles, what: str, values: Mapping[str, Any] | None = None, **fields: Any
) -> None:
    """Write a document with a fault in its values or fields, and see that it does not come into force."""
    if not toggles.live:
        pytest.skip("this implementation reads its toggles only at its start")
    before = toggles.acknowledged()
    if before["error"]:
        before = toggles.set()  # only then can the next error be told from the last
    document = toggles.document({**toggles.values, **(values or {})}) | fields
    toggles.write(json.dumps(document).encode())

    def seen() -> tuple[bool, int]:
        acknowledged = toggles.acknowledged()
        return bool(acknowledged["error"]), acknowledged["generation"]

    eventually(
        f"(error told, generation in force) after a document with {what}",
        seen,
        expected=(True, before["generation"]),
        seconds=NOTICE_SECONDS,
    )


def _expect_valid(name: str, declaration: Mapping[str, Any], value: Any) -> None:
    problems = [error.message for error in Draft202012Validator(declaration).iter_errors(value)]
    assert not problems, f"{name}: expected a value that its schema allows, got {value!r} ({problems[0]})"


def _need(toggles: Toggles, name: str) -> None:
    if name not in toggles.declared:
        pytest.skip(f"this implementation declares no toggle {name}")
