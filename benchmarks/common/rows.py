"""Figures of a benchmark, and how they are printed."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

SCHEMA = "dcops.benchmark/1"


@dataclass(frozen=True)
class Row:
    """One figure; `holds` is None where it could not be measured, and `peer_name` then says why.

    Attributes:
        target: At most this; of the ratio where `by_ratio`, else of our own figure.
        spread: The lowest and the highest of the values whose median `ours` is.
        peer_spread: The same of the peer.
    """

    name: str
    ours: float | None
    unit: str
    target: float
    peer: float | None = None
    peer_name: str = ""
    ratio: float | None = None
    holds: bool | None = None
    by_ratio: bool = False
    spread: tuple[float, float] | None = None
    peer_spread: tuple[float, float] | None = None


def held(name: str, ours: float, unit: str, target: float) -> Row:
    """A figure with its target alone beside it."""
    return Row(name, round(ours, 3), unit, target, holds=ours <= target)


def compared(
    name: str,
    unit: str,
    target: float,
    ours: Sequence[float],
    *,
    peer: Sequence[float] = (),
    peer_name: str = "",
    by_ratio: bool = False,
) -> Row:
    """The median of ours beside that of a peer, if there is one; `peer_name` else says why there is none."""
    mine, other = _median(ours), _median(peer)
    ratio = round(mine / other, 2) if mine is not None and other else None
    figure = ratio if by_ratio else mine
    return Row(
        name,
        mine,
        unit,
        target,
        peer=other,
        peer_name=peer_name,
        ratio=ratio,
        holds=None if figure is None else figure <= target,
        by_ratio=by_ratio,
        spread=_spread(ours),
        peer_spread=_spread(peer),
    )


def _median(values: Sequence[float]) -> float | None:
    return round(statistics.median(values), 3) if values else None


def _spread(values: Sequence[float]) -> tuple[float, float] | None:
    return (round(min(values), 3), round(max(values), 3)) if values else None


def command(description: str, measured: Callable[..., Iterable[Row]], quick: str) -> int:
    """The command of a benchmark.

    Args:
        description: What it measures; its first line is shown.
        measured: Makes the rows, called with `quick`.
        quick: What `--quick` changes.
    """
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    warn_if_busy()
    report(measured(quick=options.quick), as_json=options.json)
    return 0


def warn_if_busy() -> None:
    """Say so when others use the machine: figures are then theirs as much as ours."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > cores / 2:
        sys.stderr.write(f"this machine is busy (load {load:.1f}, {cores} cores): repeat when it is quiet\n")


def report(rows: Iterable[Row], *, as_json: bool) -> None:
    """Print the rows as a table, or as one JSON document."""
    if as_json:
        print(json.dumps({"schema": SCHEMA, "rows": [asdict(row) for row in rows]}))
        return
    for row in rows:
        ours = _shown(row.ours, row.unit, row.spread)
        target = f"target {'x' if row.by_ratio else ''}{row.target:g}"
        verdict = {True: "holds", False: "MISSED", None: "not measured"}[row.holds]
        print(f"{row.name:<52} {ours:>24}   {target:<11} {verdict:<12} {_beside(row)}".rstrip())


def _shown(value: float | None, unit: str, spread: tuple[float, float] | None) -> str:
    if value is None:
        return "-"
    around = f"({spread[0]:g} to {spread[1]:g})" if spread and spread[0] != spread[1] else ""
    return " ".join(filter(None, (f"{value:g}", unit, around)))


def _beside(row: Row) -> str:
    if row.peer is None:
        return row.peer_name
    ratio = "" if row.ratio is None else f", x{row.ratio:g}"
    return f"{row.peer_name} {_shown(row.peer, row.unit, row.peer_spread)}{ratio}"
