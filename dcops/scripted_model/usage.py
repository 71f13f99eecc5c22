"""Plausible counts of tokens: about four characters each."""

from __future__ import annotations

from typing import Any

import orjson


def tokens(value: Any) -> int:
    """A rough count for text or for any JSON value."""
    if not value:
        return 0
    size = len(value) if isinstance(value, str) else len(orjson.dumps(value))
    return max(1, size // 4)


def input_tokens(request: dict[str, Any]) -> int:
    """What a request's system prompt, tools and messages come to."""
    return sum(tokens(request.get(name)) for name in ("system", "tools", "messages"))


def output_tokens(block: dict[str, Any]) -> int:
    """What one block of a reply comes to."""
    said = (block.get(name) for name in ("text", "thinking", "input"))
    return sum(map(tokens, said)) or 1


def usage(request: dict[str, Any], content: list[dict[str, Any]]) -> dict[str, Any]:
    """The usage of a reply, as if the cache held what an earlier request of the session had marked."""
    total = input_tokens(request)
    read = written = 0
    if b'"cache_control"' in orjson.dumps(request):
        messages = request["messages"]
        answered = max((n for n, one in enumerate(messages) if one["role"] == "assistant"), default=None)
        if answered is not None:
            read = input_tokens(request | {"messages": messages[:answered]})
        written = total - read - 1
    return {
        "input_tokens": total - read - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "cache_creation": {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0},
        "output_tokens": sum(map(output_tokens, content)),
        "service_tier": "standard",
    }
