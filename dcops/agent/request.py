"""From history, toggles and the model's limits to one API request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .history import for_request
from .models import ADAPTIVE, BUDGET, model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .events import Message, Toggles
    from .models import Model

LEAST_BUDGET = 1024
"""Tokens; the API takes no smaller thinking budget."""

_EFFORTS = ((4_096, "low"), (16_384, "medium"), (49_152, "high"), (98_304, "xhigh"))


def build(
    messages: Sequence[Message], toggles: Toggles, system: str, tools: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """The request that continues `messages`; the stored history is not touched."""
    limits = model(toggles["api_model"])
    max_tokens = min(toggles["max_tokens"], limits.max_output)
    request: dict[str, Any] = {
        "model": toggles["api_model"],
        "max_tokens": max_tokens,
        "system": system,
        "messages": for_request(messages),
        **_thinking(limits, max_tokens, toggles),
    }
    if tools:
        request["tools"] = list(tools)
    return request


def _thinking(limits: Model, max_tokens: int, toggles: Toggles) -> dict[str, Any]:
    """Thinking in the form that the model takes, or nothing."""
    budget = toggles["thinking_budget"]
    if not toggles["use_streaming_thinking"]:
        return {}
    if limits.thinking == ADAPTIVE:
        effort = next((name for most, name in _EFFORTS if budget <= most), "max")
        return {
            "thinking": {"type": "adaptive", "display": "summarized"},
            "output_config": {"effort": effort},
        }
    budget = min(budget, max_tokens - 1)  # the API wants it below max_tokens
    if limits.thinking == BUDGET and budget >= LEAST_BUDGET:
        return {"thinking": {"type": "enabled", "budget_tokens": budget}}
    return {}
