from __future__ import annotations

import asyncio
import sqlite3
import threading
from typing import TYPE_CHECKING

import pytest

from dcops.agent.journal.changes import Changes

if TYPE_CHECKING:
    from collections.abc import Coroutine


def _run(test: Coroutine[None, None, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 10))


def test_only_who_watches_the_topic_is_woken_by_this_process() -> None:
    async def test() -> None:
        changes = Changes(lambda: 1)
        with changes.watch("a") as a, changes.watch("b") as b:
            changes.notify("a")
            assert await a.wait(5)
            assert not await b.wait(0.05)

    _run(test())


def test_a_ring_before_the_wait_is_not_lost_and_counts_once() -> None:
    async def test() -> None:
        changes = Changes(lambda: 1)
        with changes.watch("a") as bell:
            thread = threading.Thread(target=changes.notify, args=("a",))
            thread.start()
            await asyncio.to_thread(thread.join)
            assert await bell.wait(5)
            assert not await bell.wait(0.05)

    _run(test())


def test_another_processs_commit_wakes_everybody() -> None:
    async def test() -> None:
        version = 1
        changes = Changes(lambda: version)
        with changes.watch("a") as a, changes.watch("b") as b:
            version = 2
            assert await a.wait(5)
            assert await b.wait(5)

    _run(test())


def test_nothing_is_polled_while_nobody_waits() -> None:
    async def test() -> None:
        polls: list[int] = []
        changes = Changes(lambda: polls.append(1) or 1)  # type: ignore[func-returns-value]
        with changes.watch("a") as bell:
            await bell.wait(0.1)
        assert len(polls) > 2
        poller = changes._poller
        assert poller
        await poller
        before = len(polls)
        await asyncio.sleep(0.1)
        assert len(polls) == before
        with changes.watch("a"):
            assert len(polls) > before

    _run(test())


def test_a_store_that_cannot_be_read_now_wakes_who_waits_and_is_looked_at_again() -> None:
    async def test() -> None:
        faults = [False, True, True]

        def version() -> int:
            if faults and faults.pop(0):
                raise sqlite3.OperationalError("disk I/O error")
            return len(faults)

        changes = Changes(version)
        with changes.watch("a") as bell:
            assert await bell.wait(10)
            while faults:
                await bell.wait(10)
            assert await bell.wait(10)  # what was committed meanwhile is seen

    _run(test())


def test_a_store_that_is_closed_wakes_who_waits() -> None:
    async def test() -> None:
        def version() -> int:
            if changes._signals and changes._poller:
                raise sqlite3.ProgrammingError("Cannot operate on a closed database.")
            return 1

        changes = Changes(version)
        with changes.watch("a") as bell:
            assert await bell.wait(10)
            poller = changes._poller
            assert poller
            with pytest.raises(sqlite3.ProgrammingError):
                await poller

    _run(test())
