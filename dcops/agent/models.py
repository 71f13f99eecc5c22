"""What each model takes, as known on 2026-11-20; the newest names are taken to be like their family."""

from __future__ import annotations

from dataclasses import dataclass

BUDGET = "budget"
ADAPTIVE = "adaptive"
NONE = "none"


@dataclass(frozen=True, slots=True)
class Model:
    """A model's limits.

    Attributes:
        max_output: the most tokens one reply may have.
        thinking: `budget` (a number of tokens), `adaptive` (as the model sees fit, by an effort), or `none`.
    """

    max_output: int
    thinking: str


_LARGE = Model(128_000, ADAPTIVE)

_BY_PREFIX = {
    "claude-3": Model(8_192, NONE),
    "claude-3-haiku": Model(4_096, NONE),
    "claude-3-opus": Model(4_096, NONE),
    "claude-3-7": Model(64_000, BUDGET),
    "claude-opus-4": Model(32_000, BUDGET),
    "claude-sonnet-4": Model(64_000, BUDGET),
    "claude-haiku-4": Model(64_000, BUDGET),
    "claude-opus-4-5": Model(64_000, BUDGET),
    "claude-opus-4-6": _LARGE,
    "claude-opus-4-7": _LARGE,
    "claude-opus-4-8": _LARGE,
    "claude-sonnet-4-6": _LARGE,
}


def model(name: str) -> Model:
    """The limits of a model: of the longest known prefix of its name, else those of the current family."""
    known = [prefix for prefix in _BY_PREFIX if name.startswith(prefix)]
    return _BY_PREFIX[max(known, key=len)] if known else _LARGE
