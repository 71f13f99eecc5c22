"""The journal's tables: those of schema 1, and what each later one added."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

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


TOKENS_AND_WORKSPACES = """
CREATE TABLE tokens (
    day TEXT PRIMARY KEY, input INTEGER NOT NULL, output INTEGER NOT NULL,
    cache_read INTEGER NOT NULL, cache_write INTEGER NOT NULL) WITHOUT ROWID;
ALTER TABLE sessions ADD COLUMN workspace TEXT;
ALTER TABLE sessions ADD COLUMN deleted TEXT;
"""
"""Schema 2. A session without a workspace works in the shared one; one that is `deleted` is being removed."""

PARTS_OF_SESSION = (
    (
        "SELECT session, seq, length(event) FROM events WHERE session = ? LIMIT ?",
        "DELETE FROM events WHERE session = ? AND seq = ?",
    ),
    (
        "SELECT session, position, length(message) FROM messages WHERE session = ? LIMIT ?",
        "DELETE FROM messages WHERE session = ? AND position = ?",
    ),
    (
        """SELECT turn, call, coalesce(length(result), 0) FROM calls
        WHERE turn IN (SELECT id FROM turns WHERE session = ?) LIMIT ?""",
        "DELETE FROM calls WHERE turn = ? AND call = ?",
    ),
    ("SELECT id, length(input) FROM turns WHERE session = ? LIMIT ?", "DELETE FROM turns WHERE id = ?"),
)
"""What a session has, in the order in which it can go: some rows with their sizes, and how one is removed.

Not left to the foreign keys, as they remove thousands of rows at once.
"""


def now(ago: float = 0) -> str:
    """The time as it stands in the tables, `ago` seconds back: UTC, to the millisecond."""
    moment = datetime.now(UTC) - timedelta(seconds=ago)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def today() -> str:
    """The day as it stands in the tables: UTC."""
    return now()[:10]


def seconds_left() -> int:
    """Seconds until this day ends, rounded up."""
    moment = datetime.now(UTC)
    midnight = (moment + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return math.ceil((midnight - moment).total_seconds())
