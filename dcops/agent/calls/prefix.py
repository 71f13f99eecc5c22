"""The sentence that announces a call, found in text that comes in pieces."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

SENTENCE = "I'll now construct a complete function call for [{tool}]:"

_NAME = 128
_ANNOUNCED = re.compile(
    rf"I['\u2019]ll now construct a complete function call for (\[)?([A-Za-z0-9_-]{{1,{_NAME}}})(?(1)\]):"
)
_LONGEST = len(SENTENCE) + _NAME


class Prefix:
    """Which tools were announced since the last call; keeps no more text than one sentence has."""

    def __init__(self, tools: Iterable[str]) -> None:
        """Takes the names that count."""
        self._tools = frozenset(tools)
        self._tail = ""
        self._announced: set[str] = set()

    def read(self, text: str) -> None:
        """Takes the next piece of text."""
        said = self._tail + text
        self._announced |= {found[2] for found in _ANNOUNCED.finditer(said)} & self._tools
        self._tail = said[-_LONGEST:]

    def take(self, tool: str) -> bool:
        """Whether the call that begins here was announced; the next one needs a sentence of its own."""
        announced = tool in self._announced
        self._announced.clear()
        self._tail = ""
        return announced
