"""dcops and the agent know the rules of toggles independently; of the same document they think the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcops.agent.toggles import Schema, ToggleError
from dcops.core import toggles

if TYPE_CHECKING:
    from collections.abc import Mapping

AGENT = json.loads((Path(__file__).parents[2] / "dcops/agent/toggles.schema.json").read_text())
CHAIN = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "think": {"type": "boolean", "default": True},
        "plan": {"type": "boolean", "default": True, "x-needs": "think"},
        "draft": {"type": "boolean", "default": False, "x-needs": "plan"},
        "room": {"type": "integer", "default": 9, "x-needs": "plan", "x-less-than": "most"},
        "most": {"type": "integer", "default": 10, "x-less-than": "limit"},
        "limit": {"type": "number", "minimum": 0, "default": 10.5},
        "level": {"enum": ["low", 1, True], "default": "low"},
    },
}


def _values(declaration: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Values at the edges of what is allowed, and of other types."""
    edges = [
        declaration[bound] + step
        for bound in ("minimum", "maximum")
        if bound in declaration
        for step in (-1, 0, 1)
    ]
    edges += [declaration["default"], *declaration.get("enum", [])]
    odd = [True, False, 0, 1, 5, 11, 1.0, 2048.0, 0.5, None, "", "claude-x", "claude-x\n", "Claude", [], {}]
    return st.sampled_from(edges * 3 + [5, 11, 1000, 40000, True, False] * 2 + odd)


def _documents(schema: Mapping[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    known = {name: _values(declaration) for name, declaration in schema["properties"].items()}
    unknown = {"no_such_toggle": st.just(True)}
    return st.fixed_dictionaries({}, optional=known) | st.fixed_dictionaries({}, optional=known | unknown)


def _refusal(values: dict[str, Any], schema: Mapping[str, Any]) -> str:
    """Why the agent takes no document with these values; empty when it takes it."""
    try:
        Schema(schema).check(values)
    except ToggleError as error:
        return str(error)
    return ""


def _expect_same(values: dict[str, Any], schema: Mapping[str, Any]) -> None:
    found, refusal = toggles.validate(values, schema), _refusal(values, schema)
    assert bool(found) == bool(refusal), f"{values}: dcops says {found}, the agent {refusal!r}"
    for fault in found:
        assert str(fault.path[0]) in refusal
    if not found:
        assert Schema(schema).complete(values) == toggles.effective(values, schema)
    # What dcops delivers is complete, and the agent takes it as it stands.
    delivered = toggles.effective(toggles.project(values, schema), schema)
    assert Schema(schema).complete(delivered) == delivered


@given(_documents(AGENT))
def test_of_the_agents_own_schema(values: dict[str, Any]) -> None:
    _expect_same(values, AGENT)


@given(_documents(CHAIN))
def test_of_rules_that_hang_together(values: dict[str, Any]) -> None:
    _expect_same(values, CHAIN)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"max_tokens": 32768},
        {"max_tokens": 2000, "use_streaming_thinking": False},
        {"max_tokens": 2000, "thinking_budget": 1024},
        {"max_tokens": 2001, "thinking_budget": 1024},
        {"use_streaming_thinking": False, "enable_tool_thinking": True},
        {"enforce_construction_prefix": True},
        {"enforce_construction_prefix": True, "use_xml_prompts": True},
        {"enable_buffer_delay": True, "enable_tool_buffer": False},
        {"enable_tool_buffer": False},
    ],
)
def test_of_documents_that_people_write(values: dict[str, Any]) -> None:
    _expect_same(values, AGENT)
