"""What toggles do to the model that is chosen, where that is not what their values say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..models import ADAPTIVE, NONE, model

if TYPE_CHECKING:
    from ..events import Toggles


def effects(values: Toggles) -> dict[str, str]:
    """A remark by toggle name; toggles that work as their values say have none."""
    name = values["api_model"]
    limits = model(name)
    remarks: dict[str, str] = {}
    if values["max_tokens"] > limits.max_output:
        remarks["max_tokens"] = f"{name} writes at most {limits.max_output} tokens in one reply"
    if limits.thinking == NONE:
        remarks["use_streaming_thinking"] = f"no effect: {name} does not think"
    if limits.thinking == NONE or not values["use_streaming_thinking"]:
        remarks["thinking_budget"] = "no effect: the model is not asked to think"
    elif limits.thinking == ADAPTIVE:
        remarks["thinking_budget"] = f"a guide: {name} decides itself how long it thinks"
    elif values["thinking_budget"] >= values["max_tokens"]:
        remarks["thinking_budget"] = "limited by max_tokens"
    return remarks
