"""What the little implementation keeps when a test gives it a journal: everything that it was told.

Copied into it, and run by `python -m little.kept` as its migration.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

SCHEMA = 1
MIN_READER = 1
STATEMENTS = {
    1: "CREATE TABLE about (schema INTEGER, min_reader INTEGER); CREATE TABLE said (text TEXT);"
    "INSERT INTO about VALUES (1, 1);",
}


def journal() -> Any:
    return closing(sqlite3.connect(Path(os.environ["DCOPS_STATE_DIR"], "kept.db"), isolation_level=None))


def state() -> dict[str, Any]:
    with journal() as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'about'").fetchone():
            return {"id": "kept", "schema": 0, "min_reader": 0}
        schema, min_reader = db.execute("SELECT schema, min_reader FROM about").fetchone()
        return {"id": "kept", "schema": schema, "min_reader": min_reader}


def say(text: str) -> None:
    with journal() as db:
        db.execute("INSERT INTO said (text) VALUES (?)", (text,))


def said() -> list[str]:
    with journal() as db:
        return [text for (text,) in db.execute("SELECT text FROM said ORDER BY rowid")]


def check() -> None:
    """As the agent does: a new file is made, an older or too new one refused."""
    found = state()
    if not found["schema"]:
        migrate()
    elif found["schema"] < SCHEMA or found["min_reader"] > SCHEMA:
        sys.exit(f"the journal is {found}, and this release knows {SCHEMA}")


def migrate() -> None:
    with journal() as db:
        for number in range(state()["schema"] + 1, SCHEMA + 1):
            told = f"UPDATE about SET schema = {number}, min_reader = {MIN_READER}"
            db.executescript(f"BEGIN IMMEDIATE; {STATEMENTS[number]}; {told}; COMMIT;")


if __name__ == "__main__":
    migrate()
    sys.stdout.write(json.dumps(state()) + "\n")
