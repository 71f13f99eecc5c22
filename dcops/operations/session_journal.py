"""Whether a release can use the session journal that is there, and what must happen to it before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dcops.core.release import SessionJournal
from dcops.errors import DcopsError, PreconditionMissing
from dcops.operations.steps.backup import repository

if TYPE_CHECKING:
    from dcops.core.deployment import Revision
    from dcops.operations.current import Current
    from dcops.operations.world import Place

FIRST = SessionJournal(1, 1)
"""What a release that says nothing of its journal is taken for."""
ASK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Migration:
    """What becomes of the journal before a release starts.

    Attributes:
        breaks: Whether a release that runs now cannot use it afterwards.
        change: For people.
    """

    breaks: bool
    change: str


def migration(place: Place, current: Current, revision: Revision, *, breaking: bool) -> Migration | None:
    """The migration that a release needs before it starts; None when it can use the journal as it is.

    Args:
        breaking: Whether one may be planned that ends the releases that run.

    Raises:
        PreconditionMissing: The release cannot read the journal (DC-JOURNAL-NEWER), or its migration breaks
            what runs and was not asked for (DC-MIGRATION-BREAKING).
    """
    needed = revision.journal
    if needed is None:
        return None
    found = _found(place, current, needed)
    if found is None:
        # Nobody can tell; what was there before a `down` may be older.
        return Migration(breaks=False, change=f"brought to {needed.schema}") if needed != FIRST else None
    if found.min_reader > needed.schema:
        raise _newer(place, revision, found.min_reader, needed.schema)
    if found.schema >= needed.schema:
        return None
    steps = f"{found.schema} -> {needed.schema}"
    if all(needed.min_reader <= each.schema for each in _used_by(current)):
        return Migration(breaks=False, change=f"{steps} (adds only; the earlier release goes on reading it)")
    if not breaking:
        raise _breaking(place, revision, steps)
    return Migration(breaks=True, change=f"{steps} (the earlier release cannot read it any more)")


def _found(place: Place, current: Current, needed: SessionJournal) -> SessionJournal | None:
    """The journal that is there, as what serves says; it is at least what that release needs."""
    record = current.record
    if record is None:
        return None
    least = record.revision.journal or FIRST
    if least.schema == needed.schema:
        return least
    try:
        told = place.client(record, timeout=ASK_SECONDS).instance().get("state") or {}
    except DcopsError:
        told = {}
    return SessionJournal(told.get("schema", least.schema), told.get("min_reader", least.min_reader))


def _used_by(current: Current) -> list[SessionJournal]:
    """What the releases know that have the journal open now."""
    names = [each for role in ("serving", "warm", "draining") for each in current.with_role(role)]
    running = {current.serving, *filter(current.runs, names)} & current.records.keys()
    return [current.records[name].revision.journal or FIRST for name in running]


def _newer(place: Place, revision: Revision, wanted: int, known: int) -> PreconditionMissing:
    of_it = [
        each.id
        for each in repository(place).list()
        if each.data and (each.environment, each.release) == (place.name, revision.release)
    ]
    back = f"dcops rollback {of_it[-1]} --with-data --env {place.name}" if of_it else ""
    return PreconditionMissing(
        "DC-JOURNAL-NEWER",
        f"{revision.short} cannot read the session journal of {place.name}",
        why=f"since a newer release it needs a reader of schema {wanted}, and {revision.short} knows {known}",
        do=f"{back}: sessions and workspace go back too" if back else "deploy a release that knows it",
        backup=of_it[-1] if of_it else "",
    )


def _breaking(place: Place, revision: Revision, steps: str) -> PreconditionMissing:
    return PreconditionMissing(
        "DC-MIGRATION-BREAKING",
        f"{revision.short} changes the session journal ({steps}) so that what runs cannot read it",
        why="what runs would be stopped first: requests fail until the new release serves, and nothing stays "
        "warm; sessions and workspace are backed up before, and put back when it fails",
        do=f"dcops deploy {place.name} --breaking",
    )
