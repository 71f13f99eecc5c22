from __future__ import annotations

from typing import Any

import pytest

from dcops.scripted_model.validator import validate

BASH = {"name": "bash", "input_schema": {"type": "object", "properties": {}}}


def request(**changes: Any) -> dict[str, Any]:
    asked = {
        "model": "claude-sonnet-5",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [BASH],
    }
    return {name: value for name, value in (asked | changes).items() if value is not ...}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"stream": True, "system": "be brief", "metadata": {"user_id": "u"}, "stop_sequences": ["x"]},
        {"system": [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}]},
        {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "high"}},
        {"thinking": {"type": "enabled", "budget_tokens": 1024}, "model": "claude-haiku-4-5"},
        {"thinking": {"type": "enabled", "budget_tokens": 1024}, "model": "claude-of-tomorrow"},
        {"thinking": {"type": "disabled"}, "tool_choice": {"type": "tool", "name": "bash"}},
        {
            "thinking": {"type": "adaptive"},
            "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        },
        {"tools": None, "tool_choice": {"type": "none"}},
        {"tools": [{"type": "bash_20250124", "name": "bash"}, {"type": "computer_toolset_20260801"}]},
        {"model": "claude-of-tomorrow", "max_tokens": 1_000_000},
    ],
)
def test_what_the_api_takes_is_taken(changes: dict[str, Any]) -> None:
    assert validate(request(**changes)) == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"model": ...}, "model: Field required"),
        ({"messages": ...}, "messages: Field required"),
        ({"max_tokens": ...}, "max_tokens: Field required"),
        ({"max_tokens": "many"}, "max_tokens: Input should be a valid integer"),
        ({"max_tokens": True}, "max_tokens: Input should be a valid integer"),
        ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
        ({"max_tokens": 128_001}, "max_tokens: 128001 > 128000, which is the maximum"),
        ({"temprature": 1}, "temprature: Extra inputs are not permitted"),
        ({"context_management": {}}, "context_management: Extra inputs are not permitted"),
        ({"messages": {}}, "messages: Input should be a valid list"),
        ({"messages": ["hi"]}, "messages.0: Input should be a valid dictionary"),
        ({"messages": []}, "messages: at least one message is required"),
        ({"system": 3}, "system: Input should be a valid string"),
        (
            {"system": [{"type": "text", "text": " "}]},
            "system: text content blocks must contain non-whitespace",
        ),
        ({"system": [{"type": "image"}]}, "system.0: `image` blocks are not allowed in `system` messages"),
        (
            {"messages": [{"role": "system", "content": "be brief"}]},
            'messages: first message must use the "user" role',
        ),
        ({"tools": [BASH, BASH]}, "tools: Tool names must be unique."),
        ({"tools": [{"input_schema": {"type": "object"}}]}, "tools.0.custom.name: Field required"),
        ({"tools": [BASH | {"name": "no spaces"}]}, "tools.0.custom.name: String should match pattern"),
        ({"tools": [{"name": "bash"}]}, "tools.0.custom.input_schema: Field required"),
        ({"tools": [{"name": "b", "input_schema": {}}]}, "tools.0.custom.input_schema.type: Field required"),
        (
            {"tools": [{"name": "b", "input_schema": {"type": "object", "anyOf": []}}]},
            "tools.0.custom.input_schema: input_schema does not support oneOf",
        ),
        ({"tool_choice": {"type": "some"}}, "tool_choice.type: Input should be"),
        ({"tool_choice": {"type": "tool", "name": "sh"}}, "tool_choice.name: Tool 'sh' not found"),
        (
            {"tool_choice": {"type": "auto"}, "tools": ...},
            "tool_choice: tool_choice may only be specified while",
        ),
        ({"thinking": {"type": "on"}}, "thinking: Input tag does not match"),
        (
            {"thinking": {"type": "adaptive", "budget_tokens": 2000}},
            "thinking.adaptive.budget_tokens: Extra inputs",
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2000}},
            '"thinking.type.enabled" is not supported',
        ),
        (
            {"thinking": {"type": "adaptive"}, "model": "claude-haiku-4-5"},
            '"thinking.type.adaptive" is not supported',
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 1023}, "model": "claude-haiku-4-5"},
            "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 4096}, "model": "claude-haiku-4-5"},
            "`max_tokens` must be greater than `thinking.budget_tokens`",
        ),
        (
            {"thinking": {"type": "enabled"}, "model": "claude-haiku-4-5"},
            "thinking.enabled.budget_tokens: Field required",
        ),
        (
            {"thinking": {"type": "adaptive"}, "tool_choice": {"type": "any"}},
            "Thinking may not be enabled when tool_choice forces tool use.",
        ),
    ],
)
def test_what_the_api_refuses_is_refused_in_its_words(changes: dict[str, Any], problem: str) -> None:
    problems = validate(request(**changes))
    assert len(problems) == 1
    assert problems[0].startswith(problem)


def test_a_beta_allows_its_fields() -> None:
    assert validate(request(context_management={"edits": []}), beta=True) == []


def test_a_count_needs_no_limit() -> None:
    assert validate(request(max_tokens=...), counting=True) == []


@pytest.mark.parametrize("name", [[], {}, None, 5])
def test_a_tool_whose_name_is_no_text_is_refused_and_nothing_breaks(name: Any) -> None:
    tools = [{"name": name, "input_schema": {"type": "object"}}]
    asked = request(tools=tools, tool_choice={"type": "tool", "name": name})
    assert any(problem.startswith("tools.0.custom.name") for problem in validate(asked))
