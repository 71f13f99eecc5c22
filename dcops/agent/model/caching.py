"""Where the API may keep a prompt: at most four marks, set on copies, so that a history is never changed.

Marks are no part of what is compared, so a request finds what an earlier one kept wherever both begin alike.
The API looks for it at each mark and up to 20 blocks before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..events import Block, Message

IN_MESSAGES = 3
"""Marks in the messages; the fourth stands behind tools and system prompt."""

STEP = 15
"""Blocks between two marks, where there are more between what was said now and before."""

_KINDS = {"text", "image", "document", "tool_use", "tool_result"}

_MARK = {"cache_control": {"type": "ephemeral"}}


def marked_system(text: str, own: str = "") -> list[Block]:
    """The system prompt, kept together with the tools, which come before it; `own` is the session's alone."""
    marked = {"type": "text", "text": text, **_MARK}
    return [marked, {"type": "text", "text": own}] if own else [marked]


def marked(messages: Sequence[Message]) -> list[Message]:
    """The messages with marks; only what carries one is a copy."""
    copies = list(messages)
    for m, b in _chosen(messages):
        content = list(copies[m]["content"])
        content[b] = {**content[b], **_MARK}
        copies[m] = {**copies[m], "content": content}
    return copies


def _chosen(messages: Sequence[Message]) -> list[tuple[int, int]]:
    """The newest of the user's blocks, the one where the request before ended, and a third.

    The third is the one before those; or one between them, if they are far apart.
    """
    ends: list[tuple[int, tuple[int, int]]] = []
    between: list[tuple[int, int]] = []
    for back, place, is_end in _places(messages):
        if is_end:
            ends.append((back, place))
        elif len(ends) == 1 and back - ends[0][0] <= STEP:
            between = [place]
        if len(ends) == IN_MESSAGES:
            break
    places = [place for _, place in ends]
    if len(ends) > 1 and ends[1][0] - ends[0][0] > STEP:
        return [places[0], *between, places[1]]
    return places


def _places(messages: Sequence[Message]) -> Iterator[tuple[int, tuple[int, int], bool]]:
    """What can be marked, the newest first: how many blocks back, where, and if it ends a user's message."""
    back = 0
    for m in range(len(messages) - 1, -1, -1):
        is_end = messages[m]["role"] == "user"
        content = messages[m]["content"]
        for b in range(len(content) - 1, -1, -1):
            if _can_be_marked(content[b]):
                yield back, (m, b), is_end
                is_end = False
            back += 1


def _can_be_marked(block: dict[str, Any]) -> bool:
    return block["type"] in _KINDS and (block["type"] != "text" or bool(block["text"].strip()))
