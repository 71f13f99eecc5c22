from __future__ import annotations

from typing import Any

import pytest

from dcops.scripted_model.validator import validate

MARK = {"type": "ephemeral"}
LONG = {"type": "ephemeral", "ttl": "1h"}


def problems(*content: dict[str, Any], **more: Any) -> list[str]:
    messages = [{"role": "user", "content": list(content) or "hi"}]
    return validate({"model": "m", "max_tokens": 9, "messages": messages} | more)


def text(words: str = "x", marker: dict[str, Any] | None = MARK) -> dict[str, Any]:
    return {"type": "text", "text": words, "cache_control": marker}


def test_four_markers_are_taken() -> None:
    tool = {"name": "t", "input_schema": {"type": "object"}, "cache_control": LONG}
    assert problems(text(), text(marker=None), text(), tools=[tool], system=[text(marker=LONG)]) == []


@pytest.mark.parametrize(
    "more",
    [
        {"cache_control": MARK},
        {"system": [text()]},
        {"tools": [{"name": "t", "input_schema": {"type": "object"}, "cache_control": MARK}]},
    ],
)
def test_the_fifth_marker_is_refused_wherever_it_is(more: dict[str, Any]) -> None:
    assert problems(text(), text(), text(), text(), **more) == [
        "A maximum of 4 blocks with cache_control may be provided. Found 5."
    ]


def test_markers_in_results_count() -> None:
    inner = {
        "type": "tool_result",
        "tool_use_id": "a",
        "content": [text(), text(), text()],
        "cache_control": MARK,
    }
    messages = [
        {"role": "user", "content": [text()]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "t", "input": {}}]},
        {"role": "user", "content": [inner]},
    ]
    (problem,) = validate({"model": "m", "max_tokens": 9, "messages": messages})
    assert problem.endswith("Found 5.")


def test_an_hour_after_five_minutes_is_refused() -> None:
    assert problems(text(marker=LONG), text()) == []
    (problem,) = problems(text(), text(marker=LONG))
    assert problem.startswith("a ttl='1h' cache_control block must not come after")


def test_unknown_kinds_of_markers_are_refused() -> None:
    assert problems(text(marker={"type": "forever"})) == [
        "messages.0.content.0.cache_control.type: Input should be 'ephemeral'"
    ]
    assert problems(text(marker=MARK | {"ttl": "1d"})) == [
        "messages.0.content.0.cache_control.ephemeral.ttl: Input should be '5m' or '1h'"
    ]


def test_empty_text_and_thinking_take_no_marker() -> None:
    assert problems(text(), system=[text("")]) == [
        "system: text content blocks must be non-empty",
        "system.0.text: cache_control cannot be set for empty text blocks",
    ]
    thought = {"type": "thinking", "thinking": "x", "signature": "s", "cache_control": MARK}
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [thought]},
        {"role": "user", "content": "hi"},
    ]
    assert validate({"model": "m", "max_tokens": 9, "messages": messages}) == [
        "messages.1.content.0.thinking.cache_control: Extra inputs are not permitted"
    ]
