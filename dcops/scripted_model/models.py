"""The models that this server lists, in the form of the API's models endpoint."""

from __future__ import annotations

from typing import Any

_UNKNOWN = "1970-01-01T00:00:00Z"
"""What the API gives for a date that it does not know."""

_EFFORTS = ("low", "medium", "high", "xhigh", "max")


def _supported(*, yes: bool = True) -> dict[str, bool]:
    return {"supported": yes}


def _model(
    name: str,
    display: str,
    thinking: tuple[str, ...],
    *,
    most: int = 128_000,
    context: int = 1_000_000,
    efforts: tuple[str, ...] = _EFFORTS,
    deprecated: str | None = None,
    retires: str | None = None,
) -> dict[str, Any]:
    """One entry; a model that does not think adaptively takes no effort either."""
    levels = efforts if "adaptive" in thinking else ()
    kinds = ("adaptive", "between_tools", "disabled", "enabled")
    plain = ("batch", "citations", "code_execution", "image_input", "pdf_input", "structured_outputs")
    edits = ("clear_thinking_20251015", "clear_tool_uses_20250919", "compact_20260112")
    capabilities: dict[str, Any] = {
        **{capability: _supported() for capability in plain},
        "context_management": _supported() | {edit: _supported() for edit in edits},
        "effort": _supported(yes=bool(levels))
        | {level: _supported(yes=level in levels) for level in _EFFORTS},
        "server_tools": _supported() | {tool: _supported() for tool in ("code_execution", "web_search")},
        "thinking": _supported() | {"types": {kind: _supported(yes=kind in thinking) for kind in kinds}},
    }
    return {
        "type": "model",
        "id": name,
        "display_name": display,
        "line": name.split("-")[1],
        "created_at": _UNKNOWN,
        "lifecycle": "deprecated" if deprecated else "active",
        "deprecated_at": deprecated,
        "retires_at": retires,
        "max_tokens": most,
        "max_input_tokens": context,
        "capabilities": capabilities,
    }


_BUDGET = ("disabled", "enabled")
_BOTH = ("adaptive", "disabled", "enabled")
_ADAPTIVE = ("adaptive", "disabled")
_ALWAYS = ("adaptive",)
_NO_XHIGH = ("low", "medium", "high", "max")

MODELS = {
    model["id"]: model
    for model in (
        _model("claude-opus-5-5", "Claude Opus 5.5", _ALWAYS),
        _model("claude-sonnet-5-5", "Claude Sonnet 5.5", ("adaptive", "between_tools")),
        _model("claude-opus-5", "Claude Opus 5", _ADAPTIVE),
        _model("claude-sonnet-5", "Claude Sonnet 5", _ADAPTIVE),
        _model("claude-fable-5", "Claude Fable 5", _ALWAYS),
        _model("claude-opus-4-8", "Claude Opus 4.8", _ADAPTIVE),
        _model("claude-opus-4-6", "Claude Opus 4.6", _BOTH, efforts=_NO_XHIGH),
        _model("claude-sonnet-4-6", "Claude Sonnet 4.6", _BOTH, efforts=_NO_XHIGH),
        _model("claude-haiku-4-5", "Claude Haiku 4.5", _BUDGET, most=64_000, context=200_000),
        _model(
            "claude-sonnet-4-5",
            "Claude Sonnet 4.5",
            _BUDGET,
            most=64_000,
            context=200_000,
            deprecated=_UNKNOWN,
            retires="2026-11-30T00:00:00Z",
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


def accepts_effort(model: str, level: str) -> bool:
    """Whether a model takes an effort; of unknown models nothing is refused."""
    if model not in MODELS:
        return True
    return bool(MODELS[model]["capabilities"]["effort"].get(level, {}).get("supported"))


def accepts_prefill(model: str) -> bool:
    """Whether a conversation may end with the assistant's words; models that think adaptively refuse it."""
    if model not in MODELS:
        return True
    types: dict[str, dict[str, bool]] = MODELS[model]["capabilities"]["thinking"]["types"]
    return not types["adaptive"]["supported"]
