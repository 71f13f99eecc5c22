"""What the API refuses, in its own words: the request around the messages."""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Any

from . import models
from .blocks import block_problems
from .cache_markers import cache_problems
from .history import history_problems
from .issued import Issued

if TYPE_CHECKING:
    from collections.abc import Iterator

_REQUIRED = ("model", "messages", "max_tokens")
_FIELDS = {
    *_REQUIRED,
    "cache_control",
    "container",
    "diagnostics",
    "inference_geo",
    "metadata",
    "output_config",
    "service_tier",
    "speed",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
    "user_profile_id",
    "workspace_id",
}
_BETA_FIELDS = {
    "billing_policy",
    "compaction",
    "context_management",
    "fallback_credit_token",
    "fallbacks",
    "mcp_servers",
    "thread",
}
_KINDS = {
    "model": str,
    "messages": list,
    "max_tokens": int,
    "tools": list,
    "thinking": dict,
    "tool_choice": dict,
}
_KIND_NAMES = {str: "string", list: "list", int: "integer", dict: "dictionary"}
_THINKING_FIELDS = {
    "enabled": {"type", "display", "budget_tokens"},
    "adaptive": {"type", "display"},
    "between_tools": {"type"},
    "disabled": {"type"},
}
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_EXTRA = "Extra inputs are not permitted"


def validate(
    request: dict[str, Any], issued: Issued | None = None, *, beta: bool = False, counting: bool = False
) -> list[str]:
    """Everything in a request that the API would answer with 400 `invalid_request_error`.

    Args:
        request: the body of POST /v1/messages.
        issued: what this server has sent out, to tell whether thinking comes back unchanged.
        beta: whether the request names a beta, which allows the beta's fields.
        counting: whether it is a request for a token count, which needs no `max_tokens`.

    Returns:
        The problems, the one that the API would report first; empty for a request it accepts.
    """
    shape = list(_shape_problems(request, beta=beta, counting=counting))
    if shape:
        return shape
    tools = request.get("tools") or []
    problems = chain(
        _system_problems(request.get("system")),
        _tool_problems(tools),
        _choice_problems(request.get("tool_choice"), tools),
        () if counting else _limit_problems(request),
        _thinking_problems(request, beta=beta),
        _effort_problems(request),
        history_problems(request, issued or Issued()),
        cache_problems(request),
    )
    return list(problems)


def _shape_problems(request: dict[str, Any], *, beta: bool, counting: bool) -> Iterator[str]:
    """Fields that are missing, unknown or of a wrong kind; the other rules rely on them."""
    for name in _REQUIRED:
        if name not in request and not (counting and name == "max_tokens"):
            yield f"{name}: Field required"
    allowed = _FIELDS | _BETA_FIELDS if beta else _FIELDS
    for name, value in request.items():
        if name not in allowed:
            yield f"{name}: {_EXTRA}"
        kind = _KINDS.get(name)
        optional = name not in _REQUIRED and value is None
        if kind and not optional and (not isinstance(value, kind) or isinstance(value, bool)):
            yield f"{name}: Input should be a valid {_KIND_NAMES[kind]}"
    system = request.get("system")
    if system is not None and not isinstance(system, str | list):
        yield "system: Input should be a valid string"
    for place in ("messages", "tools", "system"):
        values = request.get(place)
        for n, one in enumerate(values if isinstance(values, list) else ()):
            if not isinstance(one, dict):
                yield f"{place}.{n}: Input should be a valid dictionary or object to extract fields from"


def _system_problems(system: str | list[dict[str, Any]] | None) -> Iterator[str]:
    for n, block in enumerate(system if isinstance(system, list) else ()):
        yield from block_problems(block, f"system.{n}", "system")


def _tool_problems(tools: list[dict[str, Any]]) -> Iterator[str]:
    names = [tool["name"] for tool in tools if isinstance(tool.get("name"), str)]
    if len(set(names)) < len(names):
        yield "tools: Tool names must be unique."
    for n, tool in enumerate(tools):
        if tool.get("type") in (None, "custom"):
            yield from _custom_tool_problems(tool, f"tools.{n}.custom")


def _custom_tool_problems(tool: dict[str, Any], path: str) -> Iterator[str]:
    name = tool.get("name")
    if name is None:
        yield f"{path}.name: Field required"
    elif not isinstance(name, str) or not _TOOL_NAME.fullmatch(name):
        yield f"{path}.name: String should match pattern '^{_TOOL_NAME.pattern}$'"
    eager = tool.get("eager_input_streaming")
    if eager is not None and not isinstance(eager, bool):
        yield f"{path}.eager_input_streaming: Input should be a valid boolean"
    schema = tool.get("input_schema")
    if not isinstance(schema, dict):
        yield f"{path}.input_schema: Field required"
        return
    if schema.get("type") != "object":
        yield f"{path}.input_schema.type: " + (
            "Input should be 'object'" if "type" in schema else "Field required"
        )
    if {"oneOf", "allOf", "anyOf"} & schema.keys():
        yield f"{path}.input_schema: input_schema does not support oneOf, allOf, or anyOf at the top level"


def _choice_problems(choice: dict[str, Any] | None, tools: list[dict[str, Any]]) -> Iterator[str]:
    if choice is None:
        return
    kind = choice.get("type")
    if kind not in ("auto", "any", "tool", "none"):
        yield "tool_choice.type: Input should be 'auto', 'any', 'tool' or 'none'"
    if not tools and kind != "none":
        yield "tool_choice: tool_choice may only be specified while providing tools."
    elif kind == "tool" and choice.get("name") not in [tool.get("name") for tool in tools]:
        yield f"tool_choice.name: Tool '{choice.get('name')}' not found in provided tools"


def _limit_problems(request: dict[str, Any]) -> Iterator[str]:
    limit, model = request["max_tokens"], request["model"]
    if limit < 1:
        yield "max_tokens: Input should be greater than or equal to 1"
    most = models.MODELS[model]["max_tokens"] if model in models.MODELS else None
    if most and limit > most:
        yield (
            f"max_tokens: {limit} > {most}, which is the maximum allowed number of output tokens for {model}"
        )


def _thinking_problems(request: dict[str, Any], *, beta: bool) -> Iterator[str]:
    thinking = request.get("thinking")
    if not thinking:
        return
    kind = thinking.get("type")
    if kind not in _THINKING_FIELDS:
        yield "thinking: Input tag does not match any of: 'adaptive', 'between_tools', 'disabled', 'enabled'"
        return
    allowed = _THINKING_FIELDS[kind] | (
        {"block_binding"} if beta and kind in ("enabled", "adaptive") else set()
    )
    for name in thinking.keys() - allowed:
        yield f"thinking.{kind}.{name}: {_EXTRA}"
    if not models.accepts_thinking(request["model"], kind):
        yield f'"thinking.type.{kind}" is not supported for this model.'
    if kind == "enabled":
        yield from _budget_problems(thinking.get("budget_tokens"), request.get("max_tokens"))
    choice = (request.get("tool_choice") or {}).get("type")
    if kind in ("enabled", "adaptive") and choice in ("any", "tool"):
        yield "Thinking may not be enabled when tool_choice forces tool use."


def _effort_problems(request: dict[str, Any]) -> Iterator[str]:
    level = (request.get("output_config") or {}).get("effort")
    if level is not None and not models.accepts_effort(request["model"], level):
        yield f"output_config.effort: '{level}' is not supported for this model."


def _budget_problems(budget: Any, limit: int | None) -> Iterator[str]:
    if not isinstance(budget, int) or isinstance(budget, bool):
        yield "thinking.enabled.budget_tokens: Field required"
    elif budget < 1024:
        yield "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"
    elif limit is not None and budget >= limit:
        yield "`max_tokens` must be greater than `thinking.budget_tokens`."
