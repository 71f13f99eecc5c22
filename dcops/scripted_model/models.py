"""The models that this server lists, in the form of the API's models endpoint."""

from __future__ import annotations

from typing import Any

_EFFORTS = ("low", "medium", "high", "xhigh", "max")


def _supported(*, yes: bool = True) -> dict[str, bool]:
    return {"supported": yes}


def _model(
    name: str, display: str, *, most: int, context: int, thinking: tuple[str, ...], lifecycle: str = "active"
) -> dict[str, Any]:
    effort = "adaptive" in thinking
    kinds = ("adaptive", "between_tools", "disabled", "enabled")
    plain = ("batch", "citations", "code_execution", "image_input", "pdf_input", "structured_outputs")
    edits = ("clear_thinking_20251015", "clear_tool_uses_20250919", "compact_20260112")
    capabilities: dict[str, Any] = {
        **{capability: _supported() for capability in plain},
        "context_management": _supported() | {edit: _supported() for edit in edits},
        "effort": _supported(yes=effort) | {level: _supported(yes=effort) for level in _EFFORTS},
        "server_tools": _supported() | {tool: _supported() for tool in ("code_execution", "web_search")},
        "thinking": _supported() | {"types": {kind: _supported(yes=kind in thinking) for kind in kinds}},
    }
    return {
        "type": "model",
        "id": name,
        "display_name": display,
        "line": name.split("-")[1],
        "created_at": "1970-01-01T00:00:00Z",  # the API's value for "unknown"
        "lifecycle": lifecycle,
        "deprecated_at": None,
        "retires_at": None,
        "max_tokens": most,
        "max_input_tokens": context,
        "capabilities": capabilities,
    }


_BUDGET = ("disabled", "enabled")
_BOTH = ("adaptive", "disabled", "enabled")
_ADAPTIVE = ("adaptive", "disabled")

MODELS = {
    model["id"]: model
    for model in (
        _model("claude-opus-5", "Claude Opus 5", most=128_000, context=1_000_000, thinking=_ADAPTIVE),
        _model("claude-sonnet-5", "Claude Sonnet 5", most=128_000, context=1_000_000, thinking=_ADAPTIVE),
        _model("claude-fable-5", "Claude Fable 5", most=128_000, context=1_000_000, thinking=_ADAPTIVE),
        _model("claude-opus-4-8", "Claude Opus 4.8", most=128_000, context=1_000_000, thinking=_ADAPTIVE),
        _model("claude-sonnet-4-6", "Claude Sonnet 4.6", most=128_000, context=1_000_000, thinking=_BOTH),
        _model("claude-haiku-4-5", "Claude Haiku 4.5", most=64_000, context=200_000, thinking=_BUDGET),
        _model(
            "claude-sonnet-4-5",
            "Claude Sonnet 4.5",
            most=64_000,
            context=200_000,
            thinking=_BUDGET,
            lifecycle="deprecated",
        ),
    )
}


def page() -> dict[str, Any]:
    """All models as one page of the list."""
    names = list(MODELS)
    return {
        "data": list(MODELS.values()),
        "has_more": False,
        "first_id": names[0],
        "last_id": names[-1],
    }


def accepts_thinking(model: str, kind: str) -> bool:
    """Whether a model takes `thinking.type` of this kind; of unknown models nothing is refused."""
    if model not in MODELS:
        return True
    types: dict[str, dict[str, bool]] = MODELS[model]["capabilities"]["thinking"]["types"]
    return kind not in types or types[kind]["supported"]


def accepts_prefill(model: str) -> bool:
    """Whether a conversation may end with the assistant's words; models that think adaptively refuse it."""
    if model not in MODELS:
        return True
    types: dict[str, dict[str, bool]] = MODELS[model]["capabilities"]["thinking"]["types"]
    return not types["adaptive"]["supported"]
