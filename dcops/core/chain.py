"""A chain of JSON lines: each names the sha256 of the line before it, so that any change shows."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from dcops.errors import CheckFailed

FIRST = "0" * 64


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain that holds.

    Attributes:
        entries: How many lines there are.
        chained: How many of them name the one before; those that early versions wrote do not.
        last: sha256 of the last line. Who has it written down can tell later that nothing up to there was
            changed or cut off, which the lines alone cannot show.
    """

    entries: int
    chained: int
    last: str


def follow(content: bytes | None) -> Chain:
    """Follow a chain from its first line; a last one that a crash has torn is not looked at.

    Raises:
        CheckFailed: A line does not follow the one before it; the message names the first such line.
    """
    lines = (content or b"").split(b"\n")[:-1]
    before, chained = FIRST, 0
    for number, line in enumerate(lines, 1):
        prev = _prev(line, number)
        if prev is None and chained:
            raise _broken(number, "it does not name the line before it, as earlier ones do")
        if prev not in {None, before}:
            raise _broken(number, "the line before it is not the one that it names, or was changed since")
        chained += prev is not None
        before = hashlib.sha256(line).hexdigest()
    return Chain(len(lines), chained, before)


def _prev(line: bytes, number: int) -> Any:
    try:
        return json.loads(line).get("prev")
    except (ValueError, AttributeError):
        raise _broken(number, "it is not a JSON object") from None


def _broken(number: int, why: str) -> CheckFailed:
    return CheckFailed(
        "DC-HISTORY-BROKEN",
        f"line {number} of the history does not follow the line before it",
        why=why,
        do="ask who else can write to the engine; dcops history shows what is there now",
        line=number,
    )
