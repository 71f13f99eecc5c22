"""What somebody may have meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST = 20
"""Words that are named where none is close."""


def did_you_mean(word: str, words: Iterable[object]) -> str:
    """A sentence that names the closest of some words, or the first of them; empty when there are none."""
    import difflib  # noqa: PLC0415 - only errors need it

    known = sorted(str(each) for each in words)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close := close or [each for each in known if word and each.startswith(word)]:
        return f"did you mean {close[0]}?"
    more = f" and {len(known) - MOST} more" if len(known) > MOST else ""
    return f"known: {', '.join(known[:MOST])}{more}" if known else ""
