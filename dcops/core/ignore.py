"""Patterns of paths that are left out, read as .gitignore reads them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class _Rule:
    expression: re.Pattern[str]
    kept: bool
    directories_only: bool


class Ignore:
    """Decides about relative paths; the last pattern that fits wins, ``!`` takes a path back in.

    A pattern without a slash fits at any depth, one with a slash from the root; ``**`` spans directories,
    a slash at the end means directories only. What lies in a directory that is left out is left out.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._rules = [
            _rule(pattern) for pattern in map(str.strip, patterns) if pattern and pattern[0] != "#"
        ]

    def __call__(self, path: str, *, directory: bool) -> bool:
        """True when a path (with ``/``) is left out."""
        for rule in reversed(self._rules):
            if (directory or not rule.directories_only) and rule.expression.fullmatch(path):
                return not rule.kept
        return False


def _rule(pattern: str) -> _Rule:
    kept, directories_only = pattern.startswith("!"), pattern.endswith("/")
    body = pattern.removeprefix("!").rstrip("/")
    anchored = "/" in body
    parts = re.split(r"(/\*\*/|\*\*/|/\*\*|\*|\?|\[[^]/]+\])", body.removeprefix("/"))
    expression = "".join(_translate(part) for part in parts)
    return _Rule(re.compile(expression if anchored else f"(?:.*/)?{expression}"), kept, directories_only)


def _translate(part: str) -> str:
    wild = {"/**/": "/(?:.*/)?", "**/": "(?:.*/)?", "/**": "/.*", "*": "[^/]*", "?": "[^/]"}
    if part in wild:
        return wild[part]
    if part.startswith("[") and part.endswith("]"):
        return "[" + part[1:-1].replace("\\", "\\\\").replace("!", "^", 1 if part[1] == "!" else 0) + "]"
    return re.escape(part)
