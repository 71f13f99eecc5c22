from __future__ import annotations

from typing import Any

from dcops.scripted_model.usage import input_tokens, tokens, usage

MARK = {"cache_control": {"type": "ephemeral"}}


def user(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text} | more]}


def test_about_four_characters_are_a_token() -> None:
    assert [tokens(value) for value in ("", None, "abc", "x" * 400)] == [0, 0, 1, 100]


def test_without_markers_nothing_is_cached() -> None:
    request = {"messages": [user("x" * 400)]}
    counted = usage(request, [{"type": "text", "text": "y" * 40}])
    assert counted["input_tokens"] == input_tokens(request)
    assert counted["cache_creation_input_tokens"] == counted["cache_read_input_tokens"] == 0
    assert counted["output_tokens"] == 10


def test_with_markers_what_was_sent_before_is_read_and_the_rest_written() -> None:
    first = {"system": "s" * 4000, "messages": [user("x" * 400, **MARK)]}
    counted = usage(first, [])
    assert counted["cache_read_input_tokens"] == 0
    assert counted["cache_creation_input_tokens"] == input_tokens(first) - 1
    again = first | {
        "messages": [*first["messages"], {"role": "assistant", "content": "y"}, user("z", **MARK)]
    }
    counted = usage(again, [])
    assert counted["cache_read_input_tokens"] == input_tokens(first)
    parts = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    assert sum(counted[part] for part in parts) == input_tokens(again)


def test_every_part_of_a_reply_counts() -> None:
    blocks = [{"thinking": "t" * 40}, {"input": {"a": "b" * 72}}, {"data": "opaque"}]
    assert usage({"messages": []}, blocks)["output_tokens"] == 10 + 20 + 1
