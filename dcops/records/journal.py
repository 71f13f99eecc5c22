"""The journal of the operation that runs: a line before and after each step, synced.

One file a time, ``records/operation.jsonl``; it exists exactly while an operation is unfinished, so after a
crash it says what was interrupted, by whom, and at which step.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dcops.core.plan import FORMAT, Plan
from dcops.errors import DcopsError, PreconditionMissing
from dcops.records.intact import intact
from dcops.records.lines import parse_lines
from dcops.records.lock import actor

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dcops.core.protocols import ControlStore

PATH = "records/operation.jsonl"
RESERVE = "records/reserve"
# What taking back writes: lines here and in the history, a pointer, roles, toggles, a failed candidate's log.
RESERVE_BYTES = 128 * 1024


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An operation whose end was never written.

    Attributes:
        done: Ids of the steps that were finished, in order.
        started: Id of the step that was begun and not finished, else empty.
        undoing: Whether it was being taken back.
        undone: Ids of the steps that were already taken back.
        values: What steps left for later ones.
    """

    plan: Plan
    by: str
    pid: int
    at: float
    done: tuple[str, ...]
    started: str
    undoing: bool
    undone: tuple[str, ...]
    values: dict[str, Any]


class Journal:
    """Writes one operation's lines; each call is one round trip to the store."""

    def __init__(self, store: ControlStore) -> None:
        self._store = store

    def begin(self, plan: Plan, done: Iterable[str]) -> None:
        """Open the journal; ``done`` are steps that ran before the lock was taken.

        Space is set aside first, so that what finds the disk full can still be taken back.
        """
        line = _line("begin", plan=plan.to_json(), by=actor(), pid=os.getpid(), done=list(done))
        # Not zeros: some file systems keep none of those.
        try:
            self._store.write({RESERVE: os.urandom(RESERVE_BYTES), PATH: line + b"\n"})
        except DcopsError:
            # It may be there all the same, and nothing was begun.
            with contextlib.suppress(DcopsError):
                self.end()
            raise

    def advance(self, *, done: str = "", start: str = "", values: dict[str, Any] | None = None) -> None:
        """One step is finished, the next one begins: one line for both, to spare a round trip."""
        self._store.append(PATH, _line("step", done=done, start=start, values=values or {}))

    def undoing(self, step: str = "", *, undone: str = "") -> None:
        self._store.append(PATH, _line("undo", start=step, undone=undone))

    def free_reserve(self) -> None:
        """Give back the space that was set aside for taking back."""
        self._store.write({RESERVE: None})

    def end(self) -> None:
        self._store.write({RESERVE: None, PATH: None})

    def unfinished(self) -> Unfinished | None:
        return parse(self._store.read(PATH)[PATH])


def _line(event: Literal["begin", "step", "undo"], **fields: Any) -> bytes:
    document = {"format": FORMAT, "event": event, "at": time.time(), **fields}
    return json.dumps(document, sort_keys=True).encode()


def parse(content: bytes | None) -> Unfinished | None:
    """What a journal file's content says; None when there is none."""
    with intact(PATH):
        lines = parse_lines(content)
        newer = bool(lines) and lines[0]["format"] > FORMAT
        left = _unfinished(*lines) if lines and not newer else None
    if newer:
        raise PreconditionMissing(
            "DC-STATE-NEWER",
            "an operation was left unfinished by a newer dcops",
            why=f"this version reads format {FORMAT}",
            do="upgrade dcops on this machine, then dcops resume or dcops abort",
        )
    return left


def _unfinished(begin: dict[str, Any], *rest: dict[str, Any]) -> Unfinished:
    done, started, undone = list(begin["done"]), "", []
    values: dict[str, Any] = {}
    for line in rest:
        if line["event"] == "step":
            done += [line["done"]] if line["done"] else []
            values |= line["values"]
        elif line["undone"]:
            undone.append(line["undone"])
        started = line["start"]
    return Unfinished(
        plan=Plan.from_json(begin["plan"]),
        by=begin["by"],
        pid=begin["pid"],
        at=begin["at"],
        done=tuple(done),
        started=started,
        undoing=any(line["event"] == "undo" for line in rest),
        undone=tuple(undone),
        values=values,
    )
