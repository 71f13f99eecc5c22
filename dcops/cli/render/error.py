"""An error as text: what, why, what to do, and what belongs to it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from dcops.cli.console import style, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dcops.errors import DcopsError

LOG_LINES = 30


def error_lines(error: DcopsError) -> Iterator[str]:
    """The lines for stderr."""
    yield from wrapped(f"{style(f'Error {error.code}', 'bad')}: ", error.what, sys.stderr)
    detail: dict[str, Any] = error.detail
    faults = detail.get("faults") or []
    # The first fault is the error itself; its reason only counts the others.
    yield from _faults(faults[1:]) if len(faults) > 1 else _rows("Why", error.why)
    if probe := detail.get("probe"):
        yield from _rows("Probe", str(probe))
    if log := detail.get("log"):
        yield style("  Last lines", "dim")
        for line in log[-LOG_LINES:]:
            yield f"        {line}"
    yield from _rows("Do", error.do)


def _faults(faults: list[dict[str, Any]]) -> Iterator[str]:
    for index, fault in enumerate(faults):
        hint = f" ({fault['hint']})" if fault.get("hint") else ""
        place = f"{fault['file']}:{fault['line']}: " if "file" in fault else ""
        text = f"{place}{fault['path']} {fault['message']}{hint}"
        yield from _rows("" if index else "Also", text)


def _rows(name: str, text: str) -> Iterator[str]:
    if text:
        yield from wrapped(f"  {style(f'{name:<6}', 'dim')}", text, sys.stderr)
