"""Event streams over a real journal, without a server around them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dcops.agent.events import text_content
from dcops.agent.journal.journal import Journal
from dcops.agent.journal.records import Turn
from dcops.agent.service import sse
from dcops.agent.service.pulse import Pulse
from dcops.agent.service.roles import Roles
from dcops.agent.service.sse import EventStream


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal.open(tmp_path, "i1")
    yield opened
    opened.close()


def with_stream(
    journal: Journal, work: Callable[[Any, Turn, Callable[[], Awaitable[bytes]]], Awaitable[None]]
) -> None:
    """Runs `work` with an instance, a turn, and the next part of a stream of the turn's session."""

    async def run() -> None:
        pulse = Pulse()
        turn = journal.start_turn(journal.create_session(), "hello")
        running = {turn.session}
        instance: Any = SimpleNamespace(
            journal=journal,
            pulse=pulse,
            roles=Roles(pulse),
            running=running,
            turns=SimpleNamespace(has_turn_of=running.__contains__),
            has_session=lambda session: any(one.id == session for one in journal.list_sessions()),
        )
        frames = EventStream(instance, turn.session, 1)._frames()

        async def following() -> bytes:
            return await asyncio.wait_for(anext(frames), 5)

        await work(instance, turn, following)

    asyncio.run(run())


def test_silence_is_broken_by_a_comment(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "KEEPALIVE_SECONDS", 0.05)

    async def work(_instance: Any, turn: Turn, following: Callable[[], Awaitable[bytes]]) -> None:
        assert await following() == b": keepalive\n\n"
        assert await following() == b": keepalive\n\n"
        journal.append(turn.session, turn.id, [text_content("m", "x")])
        assert (await following()).startswith(b'id: 2\ndata: {"type":"TEXT_MESSAGE_CONTENT"')

    with_stream(journal, work)


def test_a_slow_reader_gets_batches_and_misses_nothing(journal: Journal) -> None:
    async def work(_instance: Any, turn: Turn, following: Callable[[], Awaitable[bytes]]) -> None:
        for n in range(3 * sse.BATCH):
            journal.append(turn.session, turn.id, [text_content("m", str(n))])
        parts = [await following() for _ in range(3)]
        assert [part.count(b"id: ") for part in parts] == [sse.BATCH] * 3
        numbers = [int(line[4:]) for line in b"".join(parts).splitlines() if line.startswith(b"id: ")]
        assert numbers == list(range(2, 2 + 3 * sse.BATCH))

    with_stream(journal, work)


def test_the_end_of_a_turn_comes_before_drain(journal: Journal) -> None:
    async def work(instance: Any, turn: Turn, following: Callable[[], Awaitable[bytes]]) -> None:
        instance.roles.stop(60)
        waiting = asyncio.ensure_future(following())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        journal.finish_turn(turn, "done", [text_content("m", "last")])
        instance.running.clear()
        instance.pulse.beat()
        assert b"last" in await waiting
        assert b'"drain"' in await following()
        with pytest.raises(StopAsyncIteration):
            await following()

    with_stream(journal, work)


def test_a_removed_session_ends_the_stream(journal: Journal) -> None:
    async def work(_instance: Any, turn: Turn, following: Callable[[], Awaitable[bytes]]) -> None:
        journal.finish_turn(turn, "done")
        waiting = asyncio.ensure_future(following())
        await asyncio.sleep(0)
        journal.delete_session(turn.session)
        with pytest.raises(StopAsyncIteration):
            await waiting

    with_stream(journal, work)


def test_a_flood_is_read_in_pieces(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "BATCH_BYTES", 1000)

    async def work(_instance: Any, turn: Turn, following: Callable[[], Awaitable[bytes]]) -> None:
        journal.append(turn.session, turn.id, [text_content("m", "x" * 600) for _ in range(4)])
        assert [(await following()).count(b"id: ") for _ in range(2)] == [2, 2]

    with_stream(journal, work)
