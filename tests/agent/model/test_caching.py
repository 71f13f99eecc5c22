"""H17: where the API may keep a prompt."""

from __future__ import annotations

import copy
import hashlib
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dcops.agent.model.caching import STEP, marked
from dcops.agent.model.history import for_request
from dcops.agent.model.models import model
from dcops.agent.model.request import plan, terms
from dcops.agent.toggles import Schema
from dcops.agent.tools.registry import default_registry
from dcops.scripted_model.validator import validate

TOGGLES = Schema.load().complete({})
LOOK_BACK = 20
"""Blocks before a mark in which the API looks for what it kept."""


def _text(text: str = "said") -> dict[str, Any]:
    return {"type": "text", "text": text}


THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "signed"}
REDACTED = {"type": "redacted_thinking", "data": "hidden"}


class Story:
    """A conversation that grows as the loop lets it grow; each request sees all that was said before it."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.calls = 0

    def user(self, *blocks: dict[str, Any]) -> None:
        self.messages.append({"role": "user", "content": list(blocks)})

    def reply(self, thoughts: int, texts: int, calls: int) -> list[str]:
        content = [[THOUGHT, REDACTED][n % 2] for n in range(thoughts)]
        content += [_text()] * texts
        names = [f"call{self.calls + n}" for n in range(calls)]
        self.calls += calls
        content += [
            {"type": "tool_use", "id": name, "name": "bash", "input": {"command": "ls"}} for name in names
        ]
        self.messages.append({"role": "assistant", "content": content})
        return names

    def results(self, names: list[str], *more: dict[str, Any]) -> None:
        answers = [{"type": "tool_result", "tool_use_id": name, "content": [_text("ok")]} for name in names]
        self.user(*answers, *more)


steps = st.lists(
    st.tuples(
        st.integers(0, 2),  # thoughts
        st.integers(0, 3),  # texts
        st.integers(0, 40),  # calls
        st.sampled_from(["goes on", "is steered", "breaks off", "breaks off unheard"]),
    ),
    min_size=1,
    max_size=12,
)


def _prefixes(body: dict[str, Any]) -> list[bytes]:
    """The prompt up to each of its blocks as the API compares it: marks are left out."""
    flat = [("tool", tool) for tool in body["tools"]] + [("system", block) for block in body["system"]]
    flat += [(m["role"], block) for m in body["messages"] for block in m["content"]]
    running, prefixes = hashlib.sha256(), []
    for where, block in flat:
        bare = {name: value for name, value in block.items() if name != "cache_control"}
        running.update(json.dumps([where, bare]).encode())
        prefixes.append(running.digest())
    return prefixes


def _marks(body: dict[str, Any]) -> list[int]:
    flat = [*body["tools"], *body["system"], *(b for m in body["messages"] for b in m["content"])]
    return [n for n, block in enumerate(flat) if "cache_control" in block]


@pytest.mark.slow
@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps)
def test_h17_at_most_four_marks_that_always_find_what_the_request_before_has_left(steps: Any) -> None:
    story = Story()
    tools = default_registry().definitions()
    agreed = terms(TOGGLES, model("claude-sonnet-5"), "be good", tools)
    kept: set[bytes] = set()
    before: list[bytes] = []
    story.user(_text("begin"))
    for thoughts, texts, calls, what in steps:
        stored = copy.deepcopy(story.messages)
        body = plan(story.messages, agreed).body
        assert story.messages == stored
        assert validate(body) == []
        prefixes, marks = _prefixes(body), _marks(body)
        assert 2 <= len(marks) <= 4
        assert marks[-1] == len(prefixes) - 1
        assert prefixes[: len(before)] == before
        if before:
            seen = {prefix for mark in marks for prefix in prefixes[max(mark - LOOK_BACK + 1, 0) : mark + 1]}
            assert before[-1] in seen & kept, "the whole of the request before is found"
        kept |= {prefixes[mark] for mark in marks}
        before = prefixes
        _grow(story, thoughts, texts, calls, what)


def _grow(story: Story, thoughts: int, texts: int, calls: int, what: str) -> None:
    if what == "breaks off unheard":
        story.user(_text("[interrupted]"))
        story.user(_text("again"))
        return
    names = story.reply(thoughts, max(texts, 0 if calls else 1), calls)
    if what == "is steered":
        story.results(names, _text("and this"))
    elif what == "breaks off" or not names:
        story.results(names, _text("[interrupted]"))
        story.user(_text("again"))
    else:
        story.results(names)


def test_only_what_is_marked_is_copied() -> None:
    story = Story()
    for _ in range(4):
        story.user(_text())
        story.reply(1, 2, 0)
    story.user(_text())
    copies = marked(story.messages)
    shared = [ours is theirs for ours, theirs in zip(story.messages, copies, strict=True)]
    assert shared == [True, True, True, True, False, True, False, True, False]
    assert copies[4]["content"][0] == {**_text(), "cache_control": {"type": "ephemeral"}}


def test_a_long_step_has_a_mark_on_its_way() -> None:
    story = Story()
    story.user(_text())
    story.results(story.reply(1, 1, 30))
    places = [
        n
        for n, block in enumerate(block for m in marked(story.messages) for block in m["content"])
        if "cache_control" in block
    ]
    last = 1 + 2 + 30 + 30 - 1
    assert places == [0, last - STEP, last]


@pytest.mark.parametrize("block", [THOUGHT, REDACTED, _text(" \n"), _text(""), {"type": "brand_new"}])
def test_what_cannot_carry_a_mark_has_none(block: dict[str, Any]) -> None:
    messages = marked([{"role": "user", "content": [_text(), block]}])
    assert "cache_control" in messages[0]["content"][0]
    assert messages[0]["content"][1] == block
    assert marked([{"role": "user", "content": [block]}]) == [{"role": "user", "content": [block]}]


def test_a_paused_reply_goes_back_unchanged() -> None:
    story = Story()
    story.user(_text())
    story.reply(0, 1, 0)
    assert marked(for_request(story.messages))[-1] is story.messages[-1]
