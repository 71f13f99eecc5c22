"""What each model takes, as known on `AS_OF`; the API's models endpoint knows it better where it answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

AS_OF = date(2026, 11, 21)

BUDGET = "budget"
ADAPTIVE = "adaptive"
NONE = "none"

EFFORTS = ("low", "medium", "high", "xhigh", "max")

INTERLEAVED = "interleaved-thinking-2025-05-14"
"""Thinking between calls, for models that do not do so by themselves."""

BINDING = "thinking-binding-controls-2026-08-01"
"""For models that take thinking back only behind the very words that it came after."""

SHORT_CALLS = "token-efficient-tools-2025-02-19"
"""Shorter calls, for a model that does not write them by itself."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model's limits.

    Attributes:
        max_output: the most tokens that one reply may have.
        thinking: `budget` (a number of tokens), `adaptive` (as the model sees fit, by an effort), or `none`.
        off: the `thinking.type` that keeps an adaptive model from thinking; `adaptive` where none does.
        efforts: the efforts that it takes, the least one first.
        betas: those that it knows and has to be asked with.
        eager_input: whether it streams the input of a tool as it writes it.
        lifecycle: `active`, `deprecated` or `retired`, in the API's words; empty when it did not tell.
        retires: when it ends or ended, if that is known.
    """

    max_output: int
    thinking: str
    off: str = ""
    efforts: tuple[str, ...] = ()
    betas: frozenset[str] = frozenset()
    eager_input: bool = True
    lifecycle: str = ""
    retires: date | None = None


_PLAIN = Model(8_192, NONE, eager_input=False)
_OLDER = Model(64_000, BUDGET, betas=frozenset({INTERLEAVED}))
_ADAPTIVE = Model(128_000, ADAPTIVE, "disabled", EFFORTS)
_ALWAYS = replace(_ADAPTIVE, off=ADAPTIVE)
_BOUND = frozenset({BINDING})

_BY_PREFIX = {
    "": _ALWAYS,  # a newer one: what every model of today takes
    "claude-3": _PLAIN,
    "claude-3-haiku": replace(_PLAIN, max_output=4_096),
    "claude-3-opus": replace(_PLAIN, max_output=4_096),
    "claude-3-7": Model(64_000, BUDGET, betas=frozenset({SHORT_CALLS}), eager_input=False),
    "claude-opus-4": replace(_OLDER, max_output=32_000),
    "claude-sonnet-4": _OLDER,
    "claude-haiku-4": replace(_OLDER, eager_input=False),
    "claude-opus-4-5": _OLDER,
    "claude-opus-4-6": replace(_ADAPTIVE, efforts=("low", "medium", "high", "max")),
    "claude-sonnet-4-6": replace(_ADAPTIVE, efforts=("low", "medium", "high", "max")),
    "claude-opus-4-7": _ADAPTIVE,
    "claude-opus-4-8": _ADAPTIVE,
    "claude-opus-5": _ADAPTIVE,
    "claude-sonnet-5": _ADAPTIVE,
    "claude-haiku-5": _ADAPTIVE,
    "claude-opus-5-5": replace(_ALWAYS, betas=_BOUND),
    "claude-sonnet-5-5": replace(_ADAPTIVE, off="between_tools", betas=_BOUND),
    "claude-haiku-5-5": replace(_ADAPTIVE, betas=_BOUND),
    "claude-fable-5-1": replace(_ALWAYS, betas=_BOUND),
    "claude-fable-5-2": replace(_ALWAYS, betas=_BOUND),
    "claude-mythos-5-1": replace(_ALWAYS, betas=_BOUND),
    "claude-mythos-5-2": replace(_ALWAYS, betas=_BOUND),
}

RETIRES = {
    "claude-3-sonnet-20240229": date(2025, 7, 21),
    "claude-3-opus-20240229": date(2026, 1, 5),
    "claude-3-5-haiku-20241022": date(2026, 2, 19),
    "claude-3-5-haiku-latest": date(2026, 2, 19),
    "claude-3-7-sonnet-20250219": date(2026, 2, 19),
    "claude-3-7-sonnet-latest": date(2026, 2, 19),
    "claude-opus-4-0": date(2026, 6, 15),
    "claude-opus-4-20250514": date(2026, 6, 15),
    "claude-sonnet-4-0": date(2026, 6, 15),
    "claude-sonnet-4-20250514": date(2026, 6, 15),
    "claude-mythos-preview": date(2026, 6, 30),
    "claude-opus-4-1": date(2026, 8, 5),
    "claude-opus-4-1-20250805": date(2026, 8, 5),
    "claude-sonnet-4-5": date(2026, 11, 30),
    "claude-sonnet-4-5-20250929": date(2026, 11, 30),
}
"""When models end or ended, by their whole names; `x-retires` of the toggle `api_model` says the same."""


def model(name: str) -> Model:
    """The limits of a model: of the longest known beginning of its name, else of any newer one."""
    known = _BY_PREFIX[max((prefix for prefix in _BY_PREFIX if name.startswith(prefix)), key=len)]
    return replace(known, retires=RETIRES.get(name))


def told(info: Mapping[str, Any], known: Model) -> Model:
    """The limits that the models endpoint tells; what it leaves out stays as `known`."""
    most = info.get("max_tokens")
    limits = replace(
        known,
        max_output=most if isinstance(most, int) and most > 0 else known.max_output,
        lifecycle=info.get("lifecycle") or known.lifecycle,
        retires=_day(info.get("retires_at")) or known.retires,
    )
    capabilities = info.get("capabilities") or {}
    types = (capabilities.get("thinking") or {}).get("types")
    if types is None:
        return limits
    efforts = capabilities.get("effort") or {}
    return replace(
        limits,
        thinking=ADAPTIVE if _has(types, "adaptive") else BUDGET if _has(types, "enabled") else NONE,
        off=next((kind for kind in ("disabled", "between_tools") if _has(types, kind)), ADAPTIVE),
        efforts=tuple(level for level in EFFORTS if _has(efforts, level)),
    )


def _has(capabilities: Mapping[str, Any], name: str) -> bool:
    return bool((capabilities.get(name) or {}).get("supported"))


def _day(moment: str | None) -> date | None:
    return datetime.fromisoformat(moment).date() if moment else None
