"""The journal's tables, and who may read them."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from .records import JournalTooNew

if TYPE_CHECKING:
    from ..store import Store

SCHEMA = 1
"""The version this code writes. Instances never migrate: that is a step of a deployment's plan."""

TABLES = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE sessions (
    id TEXT PRIMARY KEY, title TEXT, created TEXT NOT NULL, toggles BLOB NOT NULL, synthetic INTEGER NOT NULL,
    directory TEXT, last_seq INTEGER NOT NULL DEFAULT 0);
CREATE TABLE turns (
    id TEXT PRIMARY KEY, session TEXT NOT NULL REFERENCES sessions ON DELETE CASCADE, owner TEXT NOT NULL,
    state TEXT NOT NULL, input BLOB NOT NULL, key TEXT, created TEXT NOT NULL, ended TEXT,
    UNIQUE (session, key));
CREATE UNIQUE INDEX one_running_turn ON turns (session) WHERE state = 'running';
CREATE TABLE events (
    session TEXT NOT NULL REFERENCES sessions ON DELETE CASCADE, seq INTEGER NOT NULL, turn TEXT NOT NULL,
    event BLOB NOT NULL, PRIMARY KEY (session, seq)) WITHOUT ROWID;
CREATE TABLE messages (
    session TEXT NOT NULL REFERENCES sessions ON DELETE CASCADE, position INTEGER NOT NULL,
    turn TEXT NOT NULL, message BLOB NOT NULL, PRIMARY KEY (session, position)) WITHOUT ROWID;
CREATE TABLE calls (
    turn TEXT NOT NULL REFERENCES turns ON DELETE CASCADE, call TEXT NOT NULL, name TEXT NOT NULL,
    arguments TEXT NOT NULL, started TEXT NOT NULL, result BLOB, ended TEXT,
    PRIMARY KEY (turn, call)) WITHOUT ROWID;
CREATE TABLE controls (
    id INTEGER PRIMARY KEY AUTOINCREMENT, turn TEXT NOT NULL REFERENCES turns ON DELETE CASCADE,
    kind TEXT NOT NULL, payload BLOB NOT NULL);
CREATE INDEX controls_of_turn ON controls (turn);
"""


def now() -> str:
    """The time as it stands in the tables: UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def prepare(store: Store) -> None:
    """Creates the tables of a new file.

    Raises:
        JournalTooNew: the file needs a newer reader.
    """
    with store.transaction() as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'about'").fetchone():
            for statement in filter(str.strip, TABLES.split(";")):
                db.execute(statement)
            about = {"schema": SCHEMA, "min_reader": SCHEMA, "id": uuid.uuid4().hex, "created": now()}
            db.executemany("INSERT INTO about VALUES (?, ?)", [(k, str(v)) for k, v in about.items()])
        needed = int(db.execute("SELECT value FROM about WHERE key = 'min_reader'").fetchone()[0])
    if needed > SCHEMA:
        raise JournalTooNew(
            f"{store.path} needs a reader of schema {needed}, and this release reads up to {SCHEMA}; "
            "deploy a newer release, or restore a backup of the state"
        )
