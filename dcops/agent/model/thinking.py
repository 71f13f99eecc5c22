"""How the model thinks in a turn: settled once, as it must not change between a call and its result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .models import ADAPTIVE, BINDING, BUDGET, EFFORTS, INTERLEAVED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..events import Message, Toggles
    from .models import Model

LEAST_BUDGET = 1024
"""Tokens; the API takes no smaller thinking budget."""

ANSWER = 1024
"""Tokens of a reply that a budget leaves to what is not thinking, where `max_tokens` has them."""

_EFFORTS = {"low": 4_096, "medium": 16_384, "high": 49_152, "xhigh": 98_304}
"""The largest budget, in tokens, that an effort stands for."""


@dataclass(frozen=True, slots=True)
class Thinking:
    """What requests say of thinking: their `fields`, and the `betas` that those need."""

    fields: dict[str, Any] = field(default_factory=dict)
    betas: tuple[str, ...] = ()


def settle(
    limits: Model, toggles: Toggles, max_tokens: int, messages: Sequence[Message], *, tools: bool
) -> Thinking:
    """Thinking in the form that the model takes.

    Args:
        limits: the model's.
        toggles: all values.
        max_tokens: of the turn's first request; later ones may have more.
        messages: the history as it is sent, at the start of the turn.
        tools: whether tools are offered; then their budget is added.
    """
    wanted = toggles["use_streaming_thinking"]
    if limits.thinking == ADAPTIVE:
        return _adaptive(limits, total_budget(toggles, tools=tools)) if wanted else _none(limits)
    if limits.thinking != BUDGET or not wanted or _is_late(messages):
        return Thinking()
    budget = min(total_budget(toggles, tools=tools), most_budget(max_tokens))
    if budget < LEAST_BUDGET:
        return Thinking()
    asked = (INTERLEAVED,) if tools and INTERLEAVED in limits.betas else ()
    return Thinking({"thinking": {"type": "enabled", "budget_tokens": budget}}, asked)


def most_budget(max_tokens: int) -> int:
    """The largest budget beside `max_tokens`; below the least one there is no room for thinking."""
    return min(max(max_tokens - ANSWER, LEAST_BUDGET), max_tokens - 1)


def effort(limits: Model, budget: int) -> str | None:
    """The effort that stands for a budget, or the next lower one that the model takes; None if none."""
    most = next((name for name, tokens in _EFFORTS.items() if budget <= tokens), EFFORTS[-1])
    fitting = [name for name in limits.efforts if EFFORTS.index(name) <= EFFORTS.index(most)]
    return fitting[-1] if fitting else None


def total_budget(toggles: Toggles, *, tools: bool) -> int:
    """Tokens to think with: the thinking budget, and that for calls where `tools` are offered."""
    budget: int = toggles["thinking_budget"]
    return budget + toggles["tool_thinking_budget"] if tools and toggles["enable_tool_thinking"] else budget


def _adaptive(limits: Model, budget: int, display: str = "summarized") -> Thinking:
    thinking: dict[str, Any] = {"type": "adaptive", "display": display}
    if BINDING in limits.betas:
        # Another release's prompt or a flipped toggle must not end a conversation.
        thinking["block_binding"] = {"prefix_mismatch_behavior": "drop_block"}
    level = effort(limits, budget)
    effort_field = {"output_config": {"effort": level}} if level else {}
    return Thinking({"thinking": thinking, **effort_field}, (BINDING,) if BINDING in limits.betas else ())


def _none(limits: Model) -> Thinking:
    """As little as the model can: without a word on it, current ones think."""
    if limits.off == ADAPTIVE:
        return _adaptive(limits, 0, display="omitted")
    return Thinking({"thinking": {"type": limits.off}})


def _is_late(messages: Sequence[Message]) -> bool:
    """Whether the results sent first answer calls that were made without thinking.

    A budget is refused then; it holds from the user's next word on.
    """
    first = None
    for message in reversed(messages):
        if message["role"] == "assistant":
            first = message
        elif not any(block["type"] == "tool_result" for block in message["content"]):
            break
    return first is not None and first["content"][0]["type"] not in {"thinking", "redacted_thinking"}
