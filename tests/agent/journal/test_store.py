from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING

import pytest

from dcops.agent.journal.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "x.db")
    with store.transaction() as db:
        db.execute("CREATE TABLE t (n INTEGER PRIMARY KEY)")
    yield store
    store.close()


def _insert(store: Store, number: int) -> Callable[[], int]:
    def work() -> int:
        with store.transaction() as db:
            db.execute("INSERT INTO t VALUES (?)", (number,))
        return number

    return work


def _fail(store: Store, callback: Callable[[], None] = lambda: None) -> None:
    with store.transaction() as db:
        db.execute("INSERT INTO t VALUES (99)")
        store.after_commit(callback)
        raise ZeroDivisionError


def _numbers(store: Store) -> list[int]:
    return [n for (n,) in store.read("SELECT n FROM t ORDER BY n")]


def test_a_failed_transaction_leaves_nothing(store: Store) -> None:
    with pytest.raises(ZeroDivisionError):
        _fail(store)
    assert _numbers(store) == []


def test_a_failed_part_leaves_the_rest(store: Store) -> None:
    with store.transaction() as db:
        db.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(sqlite3.IntegrityError):
            _insert(store, 1)()
        _insert(store, 2)()
    assert _numbers(store) == [1, 2]


def test_callbacks_come_after_the_commit_and_not_after_a_failure(store: Store) -> None:
    seen: list[list[int]] = []
    with store.transaction():
        store.after_commit(lambda: seen.append(_numbers(store)))
        _insert(store, 1)()
        assert seen == []
    assert seen == [[1]]
    with pytest.raises(ZeroDivisionError):
        _fail(store, lambda: seen.append([]))
    _insert(store, 2)()
    assert seen == [[1]]


def test_submitted_work_runs_in_order_and_one_failure_is_one_failure(store: Store) -> None:
    async def submit() -> list[object]:
        jobs = [store.submit(_insert(store, n)) for n in (1, 2, 2, 3)]
        return await asyncio.gather(*jobs, return_exceptions=True)

    first, second, third, fourth = asyncio.run(submit())
    assert (first, second, fourth) == (1, 2, 3)
    assert isinstance(third, sqlite3.IntegrityError)
    assert _numbers(store) == [1, 2, 3]


def test_what_waits_shares_a_commit(store: Store) -> None:
    commits: list[str] = []
    store._write.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)

    async def submit() -> None:
        await asyncio.gather(*(store.submit(_insert(store, n)) for n in range(200)))

    asyncio.run(submit())
    assert len(_numbers(store)) == 200
    assert len(commits) < 100


def test_a_removed_file_is_noticed(store: Store) -> None:
    assert store.exists_on_disk()
    store.path.rename(store.path.with_suffix(".old"))
    assert not store.exists_on_disk()
    store.path.write_text("another file")
    assert not store.exists_on_disk()


def test_the_version_changes_with_another_connections_commit(store: Store) -> None:
    before = store.version()
    assert store.version() == before
    other = sqlite3.connect(store.path)
    with other:
        other.execute("INSERT INTO t VALUES (1)")
    other.close()
    assert store.version() != before


def test_a_full_disk_fails_all_that_shared_the_commit_and_nothing_is_half_done(store: Store) -> None:
    def fill() -> None:
        with store.transaction() as db:
            db.execute("CREATE TABLE big (data BLOB)")
            db.execute("INSERT INTO big VALUES (zeroblob(1000000))")

    with store.transaction() as db:
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages + 5}")

    async def run() -> list[object]:
        jobs = [_insert(store, 1), fill, _insert(store, 2)]
        return await asyncio.gather(*(store.submit(job) for job in jobs), return_exceptions=True)

    results = asyncio.run(run())
    kept = [result for result in results if not isinstance(result, Exception)]
    assert any("full" in str(result) for result in results)
    assert _numbers(store) == kept
    assert asyncio.run(store.submit(_insert(store, 3))) == 3
    assert _numbers(store) == [*kept, 3]
