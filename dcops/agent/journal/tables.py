"""The journal's first tables, schema 1; what was added since stands in `migrations`."""

from __future__ import annotations

from datetime import UTC, datetime

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
