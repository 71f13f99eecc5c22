"""What is said of toggles that do something else to the model than their values say."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from dcops.agent.model.models import RETIRES, model
from dcops.agent.service.effects import effects
from dcops.agent.toggles import Schema

TOGGLES = Schema.load().complete({})
TODAY = date(2026, 11, 21)


def _effects(name: str = "claude-haiku-4-5", today: date = TODAY, **toggles: Any) -> dict[str, str]:
    return effects({**TOGGLES, "api_model": name, **toggles}, model(name), today)


def test_what_works_as_it_says_has_no_remark() -> None:
    assert _effects(use_extended_output=False) == {}
    assert _effects("claude-3-7-sonnet-20250219", use_token_efficient_tools=True).keys() == {
        "api_model",
        "use_extended_output",
    }


def test_an_adaptive_model_takes_budgets_as_a_guide() -> None:
    told = _effects("claude-sonnet-5")
    assert told.keys() == {"thinking_budget", "enable_tool_thinking", "tool_thinking_budget"}
    assert told["thinking_budget"].endswith("with effort high")
    # Where the budget for calls reaches the next effort it has one.
    assert _effects("claude-sonnet-5", thinking_budget=49_000).keys() == {"thinking_budget"}


def test_limits_of_output_are_said() -> None:
    assert (
        _effects(max_tokens=100_000)["max_tokens"]
        == "claude-haiku-4-5 writes at most 64000 tokens in one reply"
    )
    assert "use_extended_output" in _effects()
    told = _effects("claude-sonnet-5", max_tokens=100_000, use_extended_output=False)
    assert told["max_tokens"] == "64000 are the most without use_extended_output"


def test_limits_of_thinking_are_said() -> None:
    assert _effects(max_tokens=33_000)["thinking_budget"] == "limited to 31976 by max_tokens"
    assert "no room" in _effects(max_tokens=1024, thinking_budget=1024)["use_streaming_thinking"]
    assert (
        "always thinks" in _effects("claude-fable-5", use_streaming_thinking=False)["use_streaming_thinking"]
    )
    off = _effects("claude-sonnet-5", use_streaming_thinking=False)
    assert off.keys() == {"thinking_budget", "enable_tool_thinking", "tool_thinking_budget"}
    assert "enable_tool_thinking is off" in _effects(enable_tool_thinking=False)["tool_thinking_budget"]


def test_short_calls_are_asked_of_one_model_only() -> None:
    assert "no effect" in _effects(use_token_efficient_tools=True)["use_token_efficient_tools"]
    assert "use_token_efficient_tools" not in _effects()


def test_a_model_that_ends_is_named_with_the_day() -> None:
    name = "claude-sonnet-4-5"
    day = RETIRES[name]
    assert _effects(name)["api_model"] == f"{name} will be retired on 2026-11-30; choose another one"
    assert _effects(name, day)["api_model"].startswith(
        f"{name} was retired on 2026-11-30: requests to it fail"
    )


@pytest.mark.parametrize(
    ("lifecycle", "words"),
    [("deprecated", "will be retired;"), ("retired", "was retired:"), ("active", None)],
)
def test_the_apis_word_goes_before_the_tables(lifecycle: str, words: str | None) -> None:
    limits = replace(model("claude-sonnet-5"), lifecycle=lifecycle)
    told = effects({**TOGGLES, "api_model": "claude-sonnet-5"}, limits, TODAY)
    assert (words in told["api_model"]) if words else ("api_model" not in told)
