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
    yield from _rows("Why", error.why)
    detail: dict[str, Any] = error.detail
    if probe := detail.get("probe"):
        yield from _rows("Probe", str(probe))
    faults = detail.get("faults") or []
    for fault in faults if len(faults) > 1 else []:
        hint = f" ({fault['hint']})" if fault.get("hint") else ""
        yield f"        {fault['file']}:{fault['line']}: {fault['path']} {fault['message']}{hint}"
    if log := detail.get("log"):
        yield style("  Last lines", "dim")
        for line in log[-LOG_LINES:]:
            yield f"        {line}"
    yield from _rows("Do", error.do)


def _rows(name: str, text: str) -> Iterator[str]:
    if text:
        yield from wrapped(f"  {style(f'{name:<6}', 'dim')}", text, sys.stderr)
