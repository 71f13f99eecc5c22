"""How a journal came to its tables, step by step, and who may read it after each step.

A migration adds, so that the release before goes on reading and writing beside this one: tables, indexes,
columns that may be missing. One that must take something away raises `min_reader` to its own number; then
dcops ends the earlier release before it, and asks first.
`implementation.yaml` says `SCHEMA` and `MIN_READER` too, for dcops to read.
"""

from __future__ import annotations

import fcntl
import sqlite3
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .records import About, JournalDamaged, JournalTooNew, JournalTooOld
from .store import Store
from .tables import TABLES, TOKENS_AND_WORKSPACES, now

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Migration:
    """One step from a schema to the next.

    Attributes:
        number: The schema after it; they count from 1 without a gap.
        statements: SQL, each ended by a semicolon.
        min_reader: The least schema that a release must know to use the journal after it.
    """

    number: int
    statements: str
    min_reader: int


MIGRATIONS = (
    Migration(1, TABLES, min_reader=1),
    Migration(2, TOKENS_AND_WORKSPACES, min_reader=1),
)

SCHEMA = MIGRATIONS[-1].number
"""The version this code writes. Instances never migrate: that is a step of a deployment's plan."""
MIN_READER = MIGRATIONS[-1].min_reader


@contextmanager
def opening(directory: Path) -> Iterator[Store]:
    """The file `journal.db` of a state directory, made when it is missing; closed again after a failure.

    Raises:
        JournalDamaged: It is no journal any more.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "journal.db"
    with (directory / "journal.lock").open("w") as lock, _unless_damaged(path):
        fcntl.flock(lock, fcntl.LOCK_EX)  # two instances may find no file at the same moment
        store = Store(path)
        try:
            yield store
        except BaseException:
            store.close()
            raise


@contextmanager
def _unless_damaged(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        if type(error) is not sqlite3.DatabaseError:  # a full disk or a lock has a type of its own
            raise
        raise JournalDamaged(
            f"{path} is damaged ({error}); restore a backup of the state, or move the file away to begin anew"
        ) from error


def migrate(directory: Path) -> tuple[int, About]:
    """Brings a journal to this release's schema; other instances may write it meanwhile.

    Returns:
        The schema before, 0 for a new file, and what the journal is now.

    Raises:
        JournalTooNew: This release must not use it; nothing was changed.
    """
    with opening(directory) as store:
        with store.transaction() as db:
            before = _schema(db)
        for migration in MIGRATIONS:
            with store.transaction() as db:
                if _schema(db) < migration.number:
                    _apply(db, migration)
        found = _usable(store)
        store.close()
    return before, found


def prepare(store: Store) -> None:
    """Creates the tables of a new file; for an instance, which takes any other file as it is.

    Raises:
        JournalTooNew: The file needs a newer reader.
        JournalTooOld: The file has not been migrated for this release.
    """
    with store.transaction() as db:
        if not _schema(db):
            for migration in MIGRATIONS:
                _apply(db, migration)
    found = _usable(store)
    if found.schema < SCHEMA:
        raise JournalTooOld(
            f"{store.path} is of schema {found.schema}, and this release needs {SCHEMA}; "
            "a deploy migrates it, or `python -m agent --migrate`"
        )


def about(store: Store) -> About:
    """What the journal says of itself; another release may migrate it at any time."""
    found = dict(store.read("SELECT key, value FROM about"))
    return About(found["id"], found["created"], int(found["schema"]), int(found["min_reader"]))


def _usable(store: Store) -> About:
    found = about(store)
    if found.min_reader > SCHEMA:
        raise JournalTooNew(
            f"{store.path} needs a reader of schema {found.min_reader}, and this release knows {SCHEMA}; "
            "deploy a newer release, or restore a backup of the state"
        )
    return found


def _schema(db: sqlite3.Connection) -> int:
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'about'").fetchone():
        return 0
    return int(db.execute("SELECT value FROM about WHERE key = 'schema'").fetchone()[0])


def _apply(db: sqlite3.Connection, migration: Migration) -> None:
    for statement in filter(str.strip, migration.statements.split(";")):
        db.execute(statement)
    told = {"id": uuid.uuid4().hex, "created": now()} if migration.number == 1 else {}
    told |= {"schema": str(migration.number), "min_reader": str(migration.min_reader)}
    db.executemany("INSERT OR REPLACE INTO about (key, value) VALUES (?, ?)", told.items())
