"""What toggles do to the model that is chosen, where that is not what their values say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model.models import ADAPTIVE, NONE, SHORT_CALLS
from ..model.request import USUAL_OUTPUT, most_output
from ..model.thinking import LEAST_BUDGET, effort, most_budget, total_budget

if TYPE_CHECKING:
    from datetime import date

    from ..events import Toggles
    from ..model.models import Model

_UNASKED = "no effect: the model is not asked to think"


def effects(values: Toggles, limits: Model, today: date) -> dict[str, str]:
    """A remark by toggle name; toggles that work as their values say have none."""
    remarks = {
        "api_model": _life(values, limits, today),
        **_output(values, limits),
        **_thinking(values, limits),
        **_calls(values, limits),
    }
    return {name: remark for name, remark in remarks.items() if remark}


def _life(values: Toggles, limits: Model, today: date) -> str:
    name, day = values["api_model"], f" on {limits.retires}" if limits.retires else ""
    if limits.lifecycle == "retired" or (not limits.lifecycle and limits.retires and limits.retires <= today):
        return f"{name} was retired{day}: requests to it fail; choose another one"
    if limits.lifecycle == "deprecated" or limits.retires:
        return f"{name} will be retired{day}; choose another one"
    return ""


def _output(values: Toggles, limits: Model) -> dict[str, str]:
    name, wanted, most = values["api_model"], values["max_tokens"], limits.max_output
    at_most = f"{name} writes at most {most} tokens in one reply"
    extended = values["use_extended_output"]
    remarks = {"use_extended_output": f"no effect: {at_most}" if extended and most <= USUAL_OUTPUT else ""}
    if wanted > most_output(limits, values):
        remarks["max_tokens"] = (
            at_most if wanted > most else f"{USUAL_OUTPUT} are the most without use_extended_output"
        )
    return remarks


def _thinking(values: Toggles, limits: Model) -> dict[str, str]:
    name = values["api_model"]
    if limits.thinking == NONE:
        return {"use_streaming_thinking": f"no effect: {name} does not think", "thinking_budget": _UNASKED}
    if not values["use_streaming_thinking"]:
        always = limits.thinking == ADAPTIVE == limits.off
        told = f"{name} always thinks; it is asked to do so as little as it can" if always else ""
        return {"use_streaming_thinking": told, "thinking_budget": _UNASKED}
    if limits.thinking == ADAPTIVE:
        level = effort(limits, total_budget(values, tools=True))
        return {"thinking_budget": f"a guide: {name} decides itself how long it thinks, with effort {level}"}
    most = most_budget(min(values["max_tokens"], most_output(limits, values)))
    if most < LEAST_BUDGET:
        return {"use_streaming_thinking": "no effect: max_tokens leaves no room", "thinking_budget": _UNASKED}
    return {"thinking_budget": f"limited to {most} by max_tokens" if values["thinking_budget"] > most else ""}


def _calls(values: Toggles, limits: Model) -> dict[str, str]:
    name, asked = values["api_model"], values["use_streaming_thinking"] and limits.thinking != NONE
    remarks = {}
    if values["use_token_efficient_tools"] and SHORT_CALLS not in limits.betas:
        remarks["use_token_efficient_tools"] = f"no effect: {name} has no need of it, or does not know it"
    if not asked:
        remarks["enable_tool_thinking"] = _UNASKED if values["enable_tool_thinking"] else ""
        remarks["tool_thinking_budget"] = _UNASKED
    elif not values["enable_tool_thinking"]:
        remarks["tool_thinking_budget"] = "no effect: enable_tool_thinking is off"
    elif limits.thinking == ADAPTIVE:
        level, without = (effort(limits, total_budget(values, tools=tools)) for tools in (True, False))
        same = f"no effect: {name} thinks with effort {level} without it, too"
        remarks["enable_tool_thinking"] = same if level == without else ""
        remarks["tool_thinking_budget"] = same if level == without else ""
    return remarks
