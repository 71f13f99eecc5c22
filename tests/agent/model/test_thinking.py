"""Thinking by family, settled for a turn."""

from __future__ import annotations

from typing import Any

import pytest

from dcops.agent.model.models import model
from dcops.agent.model.thinking import Thinking, effort, settle
from dcops.agent.toggles import Schema

TOGGLES = Schema.load().complete({})
DROP = {"prefix_mismatch_behavior": "drop_block"}


def _settle(
    name: str, max_tokens: int = 64_000, messages: Any = (), *, tools: bool = True, **toggles: Any
) -> Thinking:
    return settle(model(name), {**TOGGLES, **toggles}, max_tokens, messages, tools=tools)


def _budget(*args: Any, **toggles: Any) -> Any:
    thinking = _settle("claude-haiku-4-5-20251001", *args, **toggles).fields.get("thinking")
    return thinking and thinking["budget_tokens"]


def test_current_models_take_an_effort_older_ones_a_budget_and_the_oldest_nothing() -> None:
    assert _settle("claude-sonnet-5").fields == {
        "thinking": {"type": "adaptive", "display": "summarized"},
        "output_config": {"effort": "high"},
    }
    assert _settle("claude-haiku-4-5").fields == {"thinking": {"type": "enabled", "budget_tokens": 34_768}}
    assert _settle("claude-3-haiku-20240307") == Thinking()


@pytest.mark.parametrize(
    ("budget", "level"),
    [(1024, "low"), (8_192, "medium"), (32_768, "high"), (65_536, "xhigh"), (127_999, "max")],
)
def test_a_larger_budget_is_a_larger_effort(budget: int, level: str) -> None:
    assert effort(model("claude-sonnet-5"), budget) == level


def test_an_effort_that_a_model_lacks_is_the_next_lower_one() -> None:
    assert effort(model("claude-sonnet-4-6"), 65_536) == "high"
    assert effort(model("claude-3-haiku-20240307"), 65_536) is None


def test_the_budget_for_calls_joins_where_tools_are_offered() -> None:
    assert _budget() == 32_768 + 2_000
    assert _budget(tools=False) == 32_768
    assert _budget(enable_tool_thinking=False) == 32_768
    assert _budget(tool_thinking_budget=5_000) == 37_768
    assert _budget(thinking_budget=4_000) == 6_000


def test_a_budget_is_at_least_1024_and_leaves_room_for_the_answer() -> None:
    assert _budget(10_000) == 10_000 - 1024
    assert _budget(2_000) == 1024
    assert _budget(1_025) == 1024
    assert _budget(1_024) is None


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("claude-haiku-4-5", {}),
        ("claude-3-haiku-20240307", {}),
        ("claude-opus-4-8", {"thinking": {"type": "disabled"}}),
        ("claude-sonnet-5", {"thinking": {"type": "disabled"}}),
        ("claude-sonnet-5-5", {"thinking": {"type": "between_tools"}}),
        (
            "claude-fable-5",
            {"thinking": {"type": "adaptive", "display": "omitted"}, "output_config": {"effort": "low"}},
        ),
    ],
)
def test_thinking_is_turned_off_in_the_models_own_way(name: str, fields: dict[str, Any]) -> None:
    assert _settle(name, use_streaming_thinking=False) == Thinking(fields)


def test_a_model_that_binds_its_thinking_drops_it_when_the_prompt_has_changed() -> None:
    settled = _settle("claude-opus-5-5")
    assert settled.fields["thinking"]["block_binding"] == DROP
    assert settled.betas == ("thinking-binding-controls-2026-08-01",)
    assert "block_binding" not in _settle("claude-opus-5").fields["thinking"]


def _message(role: str, *kinds: str) -> dict[str, Any]:
    return {"role": role, "content": [{"type": kind} for kind in kinds]}


def test_a_budget_waits_until_calls_made_without_thinking_are_answered() -> None:
    open_calls = [
        _message("user", "text"),
        _message("assistant", "text", "tool_use"),
        _message("user", "tool_result", "text"),
    ]
    assert _budget(64_000, open_calls) is None
    assert _budget(64_000, [*open_calls, _message("assistant", "text"), _message("user", "text")]) == 34_768
    thought = [
        _message("user", "text"),
        _message("assistant", "thinking", "tool_use"),
        _message("user", "tool_result"),
        _message("assistant", "tool_use"),
        _message("user", "tool_result", "text"),
    ]
    assert _budget(64_000, thought) == 34_768
    assert _settle("claude-sonnet-5", 64_000, open_calls).fields["thinking"]["type"] == "adaptive"
