from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from dcops.agent.model.models import ADAPTIVE, AS_OF, BUDGET, NONE, RETIRES, model, told
from dcops.agent.toggles import Schema
from dcops.scripted_model.models import MODELS


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("claude-opus-4-1-20250805", 32_000),
        ("claude-opus-4-5-20251101", 64_000),
        ("claude-opus-4-8", 128_000),
        ("claude-sonnet-4-20250514", 64_000),
        ("claude-fable-5-2", 128_000),
        ("claude-3-haiku-20240307", 4_096),
        ("something-new", 128_000),
    ],
)
def test_the_longest_known_beginning_of_a_name_gives_the_limits(name: str, output: int) -> None:
    assert model(name).max_output == output


def test_a_model_that_ends_is_known_by_its_whole_name() -> None:
    assert model("claude-sonnet-4-5").retires == date(2026, 11, 30)
    assert model("claude-sonnet-4-6").retires is None


def test_the_default_model_is_a_current_one_and_the_schema_says_which_end() -> None:
    declared = Schema.load().properties["api_model"]
    assert model(declared["default"]).retires is None
    assert declared["x-retires"] == {name: f"{day}" for name, day in RETIRES.items()}
    assert min(day for day in RETIRES.values() if day > AS_OF) == date(2026, 11, 30)


@pytest.mark.parametrize("name", MODELS)
def test_the_table_knows_what_the_endpoint_tells(name: str) -> None:
    table, limits = model(name), told(MODELS[name], model(name))
    assert (limits.max_output, limits.thinking) == (table.max_output, table.thinking)
    assert limits.retires == table.retires
    if limits.thinking == ADAPTIVE:
        assert (limits.off, limits.efforts) == (table.off, table.efforts)


def _info(**types: bool) -> dict[str, Any]:
    return {
        "capabilities": {"thinking": {"types": {name: {"supported": yes} for name, yes in types.items()}}}
    }


def test_what_the_endpoint_tells_goes_before_the_table() -> None:
    limits = told(
        {"max_tokens": 9_000, "lifecycle": "retired", "retires_at": "2027-01-02T00:00:00Z"}, model("x")
    )
    assert (limits.max_output, limits.lifecycle, limits.retires) == (9_000, "retired", date(2027, 1, 2))
    assert told(_info(adaptive=True, enabled=True), model("claude-opus-4-5")).thinking == ADAPTIVE
    assert told(_info(adaptive=False, enabled=True), model("x")).thinking == BUDGET
    assert told(_info(disabled=True), model("x")).thinking == NONE
    assert told(_info(adaptive=True, between_tools=True), model("x")).off == "between_tools"


@pytest.mark.parametrize(
    "info",
    [
        {},
        {"max_tokens": None, "capabilities": None, "retires_at": None, "lifecycle": None},
        {"max_tokens": "many"},
        {"capabilities": {"thinking": None}},
        {"capabilities": {"effort": {}}},
    ],
)
def test_what_it_leaves_out_stays_as_known(info: dict[str, Any]) -> None:
    assert told(info, model("claude-opus-5-5")) == model("claude-opus-5-5")
