"""One SQLite file that several processes write at once: transactions, reads, and commits in groups."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

T = TypeVar("T")
_Job = tuple[Callable[[], Any], asyncio.Future[Any]]
_Done = tuple[asyncio.Future[Any], Any, BaseException | None]


class Store:
    """A connection to write, a connection to read, and one thread that commits what tasks submit.

    All methods may be called from any thread. A commit is on disk when it returns (``synchronous=FULL``).
    """

    def __init__(self, path: Path) -> None:
        """Opens the file, creating it if it is missing.

        Raises:
            sqlite3.DatabaseError: the file is no database.
        """
        self.path = path
        self._write = self._connect()
        self._read = self._connect()
        found = path.stat()
        self._inode = (found.st_dev, found.st_ino)
        self._writing = threading.RLock()
        self._reading = threading.Lock()
        self._depth = 0
        self._others = 0
        self._queue: list[_Job] = []
        self._queueing = threading.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._after_commit: list[Callable[[], None]] = []

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=10)
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")  # heeded by a new file only, and before WAL
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA cache_size=-256")  # KB; the system's own cache holds the rest
        return connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; inside another transaction of this thread it becomes a part of that one."""
        with self._writing:
            begin, end, undo = (
                ("SAVEPOINT part", "RELEASE part", ("ROLLBACK TO part", "RELEASE part"))
                if self._depth
                else ("BEGIN IMMEDIATE", "COMMIT", ("ROLLBACK",))
            )
            self._write.execute(begin)
            self._depth += 1
            known = len(self._after_commit)
            try:
                if self._depth == 1:
                    self._look()
                yield self._write
                self._write.execute(end)
            except BaseException:
                del self._after_commit[known:]
                if self._write.in_transaction:  # on a full disk SQLite has undone the whole of it already
                    for statement in undo:
                        self._write.execute(statement)
                raise
            finally:
                self._depth -= 1
                callbacks: list[Callable[[], None]] = []
                if self._depth == 0:
                    callbacks, self._after_commit = self._after_commit, []
            for callback in callbacks:
                callback()

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Calls back once the outermost transaction of this thread is on disk; for use inside one."""
        self._after_commit.append(callback)

    def read(self, sql: str, *values: Any, size: int | None = None) -> list[tuple[Any, ...]]:
        """Rows as last committed, by whatever process; never waits for a writer.

        Args:
            sql: the query.
            values: its parameters.
            size: no further row is read once the last columns have so many bytes together.
        """
        with self._reading:
            cursor = self._read.execute(sql, values)
            if size is None:
                return cursor.fetchall()
            rows = []
            while size > 0 and (row := cursor.fetchone()):
                rows.append(row)
                size -= len(row[-1])
            cursor.close()  # or the read would go on, and keep the write-ahead log from being cleared
            return rows

    def give_back(self, pages: int) -> bool:
        """Makes the file smaller by up to so many unused pages; whether it could go on."""
        with self.transaction() as db:
            unused = int(db.execute("PRAGMA freelist_count").fetchone()[0])
            for _ in range(min(unused, pages)):
                db.execute("PRAGMA incremental_vacuum(1)")  # each page is a step, and sqlite3 makes but one
            left = int(db.execute("PRAGMA freelist_count").fetchone()[0])
        return 0 < left < unused  # a file from before it was told to give back keeps all

    async def submit(self, work: Callable[[], T]) -> T:
        """Runs `work` in the writing thread, in the order of submission, and returns when it is on disk.

        What was submitted while the disk was busy shares one commit; the failure of one undoes only that one.
        They all run again then, so `work` must do nothing but write here.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        with self._queueing:
            self._queue.append((work, future))
            if len(self._queue) == 1:
                self._thread.submit(self._drain)
        return await future

    def _drain(self) -> None:
        with self._queueing:
            jobs, self._queue = self._queue, []
        done: list[_Done] = []
        try:
            done = self._commit(jobs)
        except BaseException as error:
            done = [(future, None, error) for _, future in jobs]
        # One call for all of a loop: waking it costs more than what it is told.
        for loop in {future.get_loop() for future, _, _ in done}:
            with suppress(RuntimeError):  # it is closed, and nobody waits any more
                loop.call_soon_threadsafe(_settle, [each for each in done if each[0].get_loop() is loop])

    def _commit(self, jobs: list[_Job]) -> list[_Done]:
        try:
            with self.transaction():
                return [(future, work(), None) for work, future in jobs]
        except Exception:
            if len(jobs) == 1:
                raise
        # Only now, as to begin and end each one by itself costs half as much as what they write.
        with self.transaction():
            return [(future, *self._attempt(work)) for work, future in jobs]

    def _attempt(self, work: Callable[[], Any]) -> tuple[Any, BaseException | None]:
        try:
            with self.transaction():
                return work(), None
        except Exception as error:
            if not self._write.in_transaction:
                raise  # there is nothing left that the others could be a part of
            return None, error

    def version(self) -> int:
        """A number that differs after any commit of another process; costs microseconds, and never waits."""
        if self._writing.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._writing.release()
        return self._others  # or somebody writes, and has looked before

    def _look(self) -> None:
        # Of the connection that writes, since for it what this process commits is no change.
        self._others = int(self._write.execute("PRAGMA data_version").fetchone()[0])

    def exists_on_disk(self) -> bool:
        """Whether the path still names the file that is open; false after somebody removed it."""
        try:
            found = self.path.stat()
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._inode

    def close(self) -> None:
        """Commits what was submitted and closes the file."""
        self._thread.shutdown(wait=True)
        with self._writing, self._reading:
            self._write.close()
            self._read.close()


def _settle(done: list[_Done]) -> None:
    for future, result, failure in done:
        if future.done():  # nobody waits for it any more
            continue
        if failure:
            future.set_exception(failure)
        else:
            future.set_result(result)
