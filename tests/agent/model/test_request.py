"""The planner: whatever history, toggles and model come together, the API takes the request."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcops.agent.model.history import user
from dcops.agent.model.models import model
from dcops.agent.model.request import Request, plan, terms
from dcops.agent.prompts import place, system
from dcops.agent.toggles import Schema
from dcops.agent.tools.registry import default_registry
from dcops.scripted_model.validator import validate

TOGGLES = Schema.load().complete({})
MODELS = ["claude-sonnet-5", "claude-sonnet-5-5", "claude-opus-4-8", "claude-haiku-4-5", "claude-sonnet-4-5"]
BUDGETED = {"api_model": "claude-haiku-4-5"}


def _plan(*, tools: bool = True, more_output: int = 0, **toggles: Any) -> Request:
    values = {**TOGGLES, **toggles}
    definitions = default_registry().definitions() if tools else []
    settled = terms(values, model(values["api_model"]), "be good", definitions)
    return plan([user("hi")], settled, more_output=more_output)


@given(
    name=st.sampled_from(MODELS),
    max_tokens=st.integers(1, 128_000),
    budget=st.integers(1024, 127_999),
    more=st.integers(0, 128_000),
    thinking=st.booleans(),
    extended=st.booleans(),
)
def test_any_toggles_make_a_request_that_the_api_takes(
    name: str, max_tokens: int, budget: int, more: int, thinking: bool, extended: bool
) -> None:
    toggles = {
        "api_model": name,
        "max_tokens": max_tokens,
        "thinking_budget": budget,
        "use_streaming_thinking": thinking,
        "use_extended_output": extended,
    }
    request = _plan(**toggles)
    longer = _plan(**toggles, more_output=more)
    most = model(name).max_output if extended else min(model(name).max_output, 64_000)
    assert validate(request.body, beta=bool(request.betas)) == []
    assert validate(longer.body, beta=bool(longer.betas)) == []
    assert request.body["max_tokens"] == min(max_tokens, most)
    assert longer.body["max_tokens"] == min(max_tokens + more, most)
    assert longer.body.get("thinking") == request.body.get("thinking")


def test_output_is_extended_where_the_model_can() -> None:
    assert _plan(max_tokens=128_000).body["max_tokens"] == 128_000
    assert _plan(max_tokens=128_000, use_extended_output=False).body["max_tokens"] == 64_000
    assert _plan(**BUDGETED, max_tokens=128_000).body["max_tokens"] == 64_000


def test_betas_go_only_to_models_that_know_them() -> None:
    assert _plan().betas == ()
    assert _plan(use_token_efficient_tools=True).betas == ()
    old = {"api_model": "claude-3-7-sonnet-20250219"}
    assert _plan(**old, use_token_efficient_tools=True).betas == ("token-efficient-tools-2025-02-19",)
    assert _plan(**old).betas == ()
    assert _plan(**old, use_token_efficient_tools=True, tools=False).betas == ()
    assert _plan(**BUDGETED).betas == ("interleaved-thinking-2025-05-14",)
    assert _plan(**BUDGETED, tools=False).betas == ()
    assert _plan(**BUDGETED, use_streaming_thinking=False).betas == ()


def test_without_tools_none_are_offered() -> None:
    assert "tools" not in _plan(tools=False).body


@pytest.mark.parametrize("caching", [True, False])
def test_the_system_prompt_is_kept_with_the_tools_or_not_at_all(caching: bool) -> None:
    body = _plan(use_prompt_caching=caching).body
    kept = [{"type": "text", "text": "be good", "cache_control": {"type": "ephemeral"}}]
    assert body["system"] == (kept if caching else "be good")
    assert ("cache_control" in body["messages"][0]["content"][0]) == caching


def test_the_same_settings_give_the_same_prompt(tmp_path: Any) -> None:
    assert system(("bash", "files")) == system(("bash", "files"))
    assert str(tmp_path) in place(tmp_path)
