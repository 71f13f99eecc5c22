"""The journal's migrations: what may stand in them, and a journal that two releases use at once."""

from __future__ import annotations

import ast
import multiprocessing
import re
import sqlite3
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dcops.agent.journal import migrations
from dcops.agent.journal.journal import Journal
from dcops.agent.journal.migrations import MIGRATIONS, MIN_READER, SCHEMA, Migration, migrate
from dcops.agent.journal.records import JournalTooNew, JournalTooOld

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.synchronize import Event

AGENT = Path(migrations.__file__).parents[1]
ADDS = re.compile(r"\s*(CREATE TABLE|CREATE INDEX|ALTER TABLE \w+ ADD COLUMN)\b(?!.*\bUNIQUE\b)", re.DOTALL)
ADDED = Migration(
    SCHEMA + 1, "ALTER TABLE messages ADD COLUMN mood TEXT; CREATE TABLE moods (id);", MIN_READER
)
BREAKING = Migration(SCHEMA + 1, "ALTER TABLE sessions DROP COLUMN title;", SCHEMA + 1)


def adds_only(migration: Migration) -> bool:
    return all(map(ADDS.match, filter(str.strip, migration.statements.split(";"))))


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Journal]:
    """The journal as the release of today has it."""
    journal = Journal.open(tmp_path, "old")
    yield journal
    journal.close()


@pytest.fixture
def newer(old: Journal, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """From here on we are the next release, with one migration more."""
    del old
    monkeypatch.setattr(migrations, "MIGRATIONS", (*MIGRATIONS, ADDED))
    monkeypatch.setattr(migrations, "SCHEMA", ADDED.number)
    return monkeypatch


def test_they_count_from_one_and_add_unless_they_say_that_they_break() -> None:
    assert [each.number for each in MIGRATIONS] == list(range(1, SCHEMA + 1))
    for before, each in pairwise(MIGRATIONS):
        assert each.min_reader in {before.min_reader, each.number}
        assert each.min_reader == each.number or adds_only(each), f"{each.number} does more than add"


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE calls",
        "ALTER TABLE calls RENAME COLUMN name TO tool",
        "ALTER TABLE calls DROP COLUMN name",
        "DELETE FROM calls",
        "UPDATE calls SET name = 'x'",
        "CREATE UNIQUE INDEX one ON calls (name)",
        "CREATE TRIGGER t AFTER INSERT ON calls BEGIN SELECT 1",
    ],
)
def test_what_takes_away_does_not_pass_for_adding(statement: str) -> None:
    assert adds_only(ADDED)
    assert not adds_only(replace(ADDED, statements=f"{ADDED.statements} {statement};"))


def test_no_statement_depends_on_which_columns_there_are() -> None:
    """A column that a newer release has added is neither read by chance nor emptied."""
    for file in AGENT.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not re.search(r"SELECT (\w\.)?\*|INTO \w+ VALUES", node.value), f"{file}:{node.lineno}"
                replaced = re.search(r"INSERT OR REPLACE INTO (\w+)", node.value)
                assert not replaced or replaced[1] == "about", f"{file}:{node.lineno}"


def test_sessions_from_before_workspaces_stay_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(migrations, "MIGRATIONS", MIGRATIONS[:1])
        before.setattr(migrations, "SCHEMA", 1)
        Journal.open(tmp_path, "old").close()
    db = sqlite3.connect(tmp_path / "journal.db")
    columns = "(id, created, toggles, synthetic) VALUES ('s', '2026-01-01T00:00:00.000Z', '{}', 0)"
    db.execute(f"INSERT INTO sessions {columns}")
    db.commit()
    db.close()
    assert migrate(tmp_path)[0] == 1
    journal = Journal.open(tmp_path, "new")
    assert journal.session("s").workspace is None
    made = journal.create_session()
    assert journal.session(made).workspace == made
    journal.close()


@pytest.mark.usefixtures("newer")
def test_an_older_journal_is_refused_until_it_was_migrated(tmp_path: Path, old: Journal) -> None:
    identity = old.about()
    with pytest.raises(JournalTooOld, match="--migrate"):
        Journal.open(tmp_path, "new")
    assert old.about() == identity
    assert migrate(tmp_path) == (SCHEMA, replace(identity, schema=ADDED.number))
    assert migrate(tmp_path)[0] == ADDED.number
    new = Journal.open(tmp_path, "new")
    assert old.about() == new.about()
    new.close()


@pytest.mark.usefixtures("newer")
def test_the_earlier_release_writes_on_and_keeps_what_the_newer_one_added(
    tmp_path: Path, old: Journal
) -> None:
    session = old.create_session()
    turn = old.start_turn(session, "hello")
    migrate(tmp_path)
    new = Journal.open(tmp_path, "new")
    with new._store.transaction() as db:
        db.execute("UPDATE messages SET mood = 'glad'")
    old.put_message(turn, 1, {"role": "user", "content": []})
    rows = new._store.read("SELECT mood, message FROM messages")
    assert rows == [("glad", b'{"role":"user","content":[]}')]
    assert old.finish_turn(turn, "done")
    again = new.start_turn(session, "once more")
    assert [message["role"] for message in old.messages(session)] == ["user", "user"]
    assert old.turn(again.id) == replace(again, fresh=False)
    new.close()


def test_a_journal_that_was_broken_for_us_is_refused(tmp_path: Path, newer: pytest.MonkeyPatch) -> None:
    newer.setattr(migrations, "MIGRATIONS", (*MIGRATIONS, BREAKING))
    migrate(tmp_path)
    newer.undo()
    for use in (lambda: Journal.open(tmp_path, "old"), lambda: migrate(tmp_path)):
        with pytest.raises(JournalTooNew, match=f"schema {BREAKING.number}"):
            use()


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, newer: pytest.MonkeyPatch) -> None:
    bad = replace(ADDED, statements=f"{ADDED.statements} SELECT nothing FROM nowhere;")
    newer.setattr(migrations, "MIGRATIONS", (*MIGRATIONS, bad))
    db = sqlite3.connect(tmp_path / "journal.db")
    before = list(db.iterdump())
    with pytest.raises(sqlite3.OperationalError):
        migrate(tmp_path)
    assert list(db.iterdump()) == before
    db.close()


def _write(directory: Path, begun: Event, ended: Event) -> None:
    journal = Journal.open(directory, "writer")
    session = journal.create_session()
    while not ended.is_set():
        turn = journal.start_turn(session, "hello")
        journal.finish_turn(turn, "done")
        begun.set()
    journal.close()


@pytest.mark.slow
@pytest.mark.usefixtures("newer")
def test_it_migrates_while_another_process_writes(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")  # there the module is that of today
    begun, ended = context.Event(), context.Event()
    writer = context.Process(target=_write, args=(tmp_path, begun, ended))
    writer.start()
    try:
        assert begun.wait(30)
        assert migrate(tmp_path)[1].schema == ADDED.number
        begun.clear()
        assert begun.wait(30)
    finally:
        ended.set()
        writer.join(30)
    assert writer.exitcode == 0
