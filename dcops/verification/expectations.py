"""How a check says what it expected and what it got."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

POLL_SECONDS = 0.01


def expect(subject: str, *, expected: Any, got: Any) -> None:
    """Fail unless both are equal."""
    if got != expected:
        raise AssertionError(f"{subject}: expected {_show(expected)}, got {_show(got)}")


def eventually(subject: str, read: Callable[[], Any], *, expected: Any, seconds: float) -> None:
    """Fail unless what is read becomes equal within a time.

    Args:
        subject: What is looked at, for the message.
        read: Called again and again, every 10 ms.
        expected: What it must return.
        seconds: How long it may take.
    """
    deadline = time.monotonic() + seconds
    while (got := read()) != expected:
        if time.monotonic() > deadline:
            raise AssertionError(
                f"{subject}: expected {_show(expected)} within {seconds:g} s, got {_show(got)}"
            )
        time.sleep(POLL_SECONDS)


def _show(value: Any) -> str:
    text = value if isinstance(value, str) and value else repr(value)
    return text if len(text) <= 400 else f"{text[:200]} ... {text[-180:]}"
