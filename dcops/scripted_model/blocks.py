"""What the API refuses about one content block."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

THOUGHTS = ("thinking", "redacted_thinking")

_FIELDS: dict[str, tuple[set[str], set[str]]] = {  # required, optional
    "text": ({"text"}, {"cache_control", "citations"}),
    "image": ({"source"}, {"cache_control", "transformations"}),
    "thinking": ({"thinking", "signature"}, set()),
    "redacted_thinking": ({"data"}, set()),
    "tool_use": ({"id", "name", "input"}, {"cache_control", "caller", "toolset_name"}),
    "tool_result": ({"tool_use_id"}, {"cache_control", "content", "is_error", "toolset_name"}),
}
_STRINGS = ("text", "thinking", "signature", "data", "id", "name", "tool_use_id")
_ROLE_OF = {
    "tool_use": "assistant",
    "thinking": "assistant",
    "redacted_thinking": "assistant",
    "tool_result": "user",
}
_ID = re.compile(r"[a-zA-Z0-9_-]+")


def block_problems(block: Any, path: str, role: str) -> Iterator[str]:
    """The problems of one block; blocks of kinds that the server's own tools make pass through.

    Args:
        block: as it stands in a message's content.
        path: its place, e.g. `messages.1.content.0`.
        role: the message's role.
    """
    if not isinstance(block, dict) or not isinstance(block.get("type"), str):
        yield f"{path}.type: Field required"
        return
    kind = block["type"]
    if role == "system" and kind != "text":
        yield f"{path}: `{kind}` blocks are not allowed in `system` messages"
        return
    if role in ("user", "assistant") and _ROLE_OF.get(kind, role) != role:
        yield f"{path}: `{kind}` blocks are only allowed in `{_ROLE_OF[kind]}` messages"
    if kind in _FIELDS:
        shape = list(_shape_problems(block, f"{path}.{kind}"))
        yield from shape or _content_problems(block, f"{path}.{kind}")


def _shape_problems(block: dict[str, Any], path: str) -> Iterator[str]:
    required, optional = _FIELDS[block["type"]]
    for name in sorted(required - block.keys()):
        yield f"{path}.{name}: Field required"
    for name in block.keys() - required - optional - {"type"}:
        yield f"{path}.{name}: Extra inputs are not permitted"
    for name in _STRINGS:
        if name in block and not isinstance(block[name], str):
            yield f"{path}.{name}: Input should be a valid string"
    if "input" in required and not isinstance(block.get("input"), dict):
        yield f"{path}.input: Input should be a valid dictionary"


def _content_problems(block: dict[str, Any], path: str) -> Iterator[str]:
    kind = block["type"]
    if kind == "text" and not block["text"]:
        yield f"{path.partition('.')[0]}: text content blocks must be non-empty"
    elif kind == "text" and not block["text"].strip():
        yield f"{path.partition('.')[0]}: text content blocks must contain non-whitespace text"
    elif kind == "thinking" and not block["signature"]:
        yield f"{path}.signature: Invalid `signature` in `thinking` block"
    elif kind == "tool_use" and not _ID.fullmatch(block["id"]):
        yield f"{path}.id: String should match pattern '^{_ID.pattern}$'"
    elif kind == "tool_result":
        yield from _result_problems(block, path)


def _result_problems(block: dict[str, Any], path: str) -> Iterator[str]:
    content = block.get("content")
    if not isinstance(block.get("is_error", False), bool):
        yield f"{path}.is_error: Input should be a valid boolean"
    if block.get("is_error") and not content:
        yield f"{path}: content cannot be empty if `is_error` is true"
    if content is not None and not isinstance(content, str | list):
        yield f"{path}.content: Input should be a valid string"
    for n, inner in enumerate(content if isinstance(content, list) else ()):
        yield from block_problems(inner, f"{path}.content.{n}", "result")
