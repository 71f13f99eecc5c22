from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcops.agent.history import user
from dcops.agent.models import model
from dcops.agent.prompts import system
from dcops.agent.request import build
from dcops.agent.tools.registry import default_registry
from dcops.scripted_model.validator import validate

TOGGLES = {
    "use_streaming_thinking": True,
    "thinking_budget": 32_768,
    "api_model": "claude-sonnet-5",
    "max_tokens": 64_000,
}
MODELS = ["claude-sonnet-5", "claude-sonnet-5-5", "claude-opus-4-8", "claude-haiku-4-5", "claude-sonnet-4-5"]


def _build(**toggles: Any) -> dict[str, Any]:
    return build([user("hi")], {**TOGGLES, **toggles}, "be good", default_registry().definitions())


@given(st.sampled_from(MODELS), st.integers(1, 128_000), st.integers(1024, 128_000), st.booleans())
def test_any_toggles_make_a_request_that_the_api_takes(
    name: str, max_tokens: int, budget: int, thinking: bool
) -> None:
    request = _build(
        api_model=name, max_tokens=max_tokens, thinking_budget=budget, use_streaming_thinking=thinking
    )
    assert validate(request) == []
    assert request["max_tokens"] == min(max_tokens, model(name).max_output)
    assert thinking or "thinking" not in request


def test_current_models_take_an_effort_and_older_ones_a_budget() -> None:
    new = _build()
    assert new["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert new["output_config"] == {"effort": "high"}
    old = _build(api_model="claude-haiku-4-5-20251001")
    assert old["thinking"] == {"type": "enabled", "budget_tokens": 32_768}
    assert "output_config" not in old
    assert "thinking" not in _build(api_model="claude-3-haiku-20240307")


@pytest.mark.parametrize(
    ("budget", "effort"),
    [(1024, "low"), (8_192, "medium"), (32_768, "high"), (65_536, "xhigh"), (128_000, "max")],
)
def test_a_larger_budget_is_a_larger_effort(budget: int, effort: str) -> None:
    assert _build(thinking_budget=budget)["output_config"] == {"effort": effort}


def test_a_budget_stays_below_max_tokens_or_goes() -> None:
    old = {"api_model": "claude-haiku-4-5"}
    assert _build(**old, max_tokens=2000)["thinking"]["budget_tokens"] == 1999
    assert "thinking" not in _build(**old, max_tokens=1024)


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("claude-opus-4-1-20250805", 32_000),
        ("claude-opus-4-5-20251101", 64_000),
        ("claude-opus-4-8", 128_000),
        ("claude-sonnet-4-20250514", 64_000),
        ("claude-fable-5-2", 128_000),
        ("something-new", 128_000),
    ],
)
def test_the_longest_known_name_gives_the_limits(name: str, output: int) -> None:
    assert model(name).max_output == output


def test_the_same_settings_give_the_same_prompt(tmp_path: Any) -> None:
    assert system(tmp_path, ("bash", "files")) == system(tmp_path, ("bash", "files"))
    assert str(tmp_path) in system(tmp_path, ("bash",))
