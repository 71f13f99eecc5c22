import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from dcops.agent.service.control import POLL_SECONDS, ControlFiles

Seen = list[bytes | None]


def replace(path: Path, content: bytes) -> None:
    temporary = path.with_name("new")
    temporary.write_bytes(content)
    temporary.rename(path)


async def until(condition: Callable[[], bool], seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        await asyncio.sleep(0.005)


def follow(path: Path, work: Callable[[Seen], Awaitable[None]]) -> None:
    async def run() -> None:
        seen: Seen = []
        files = ControlFiles()
        files.follow(path, seen.append)
        watching = asyncio.create_task(files.watch())
        try:
            await work(seen)
        finally:
            watching.cancel()

    asyncio.run(run())


def test_a_file_is_handed_over_at_once_and_when_it_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "toggles.json"
    path.write_bytes(b"1")

    async def work(seen: Seen) -> None:
        assert seen == [b"1"]
        replace(path, b"2")
        await until(lambda: seen == [b"1", b"2"])

    follow(path, work)


def test_same_times_and_size_do_not_hide_a_change(tmp_path: Path) -> None:
    path = tmp_path / "toggles.json"
    path.write_bytes(b"1")
    os.utime(path, ns=(1, 1))

    async def work(seen: Seen) -> None:
        path.write_bytes(b"2")
        os.utime(path, ns=(1, 1))
        await until(lambda: seen == [b"1", b"2"])

    follow(path, work)


def test_the_same_content_is_handed_over_once(tmp_path: Path) -> None:
    path = tmp_path / "toggles.json"
    path.write_bytes(b"1")

    async def work(seen: Seen) -> None:
        replace(path, b"1")
        await asyncio.sleep(POLL_SECONDS * 3)
        replace(path, b"2")
        await until(lambda: len(seen) > 1)
        assert seen == [b"1", b"2"]

    follow(path, work)


def test_a_file_may_come_later_and_go(tmp_path: Path) -> None:
    path = tmp_path / "access.json"

    async def work(seen: Seen) -> None:
        assert seen == [None]
        replace(path, b"1")
        await until(lambda: seen == [None, b"1"])
        path.unlink()
        await until(lambda: seen == [None, b"1", None])

    follow(path, work)


def test_a_file_that_breaks_its_consumer_breaks_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "toggles.json"
    seen: Seen = []

    def take(content: bytes | None) -> None:
        seen.append(content)
        if content == b"bad":
            raise ZeroDivisionError

    async def run() -> None:
        files = ControlFiles()
        files.follow(path, take)
        watching = asyncio.create_task(files.watch())
        for content in (b"bad", b"good"):
            replace(path, content)
            await until(lambda content=content: seen[-1] == content)  # type: ignore[misc]
        watching.cancel()

    asyncio.run(run())
