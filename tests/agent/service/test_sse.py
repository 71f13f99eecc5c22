"""Event streams over a real journal, without a server around them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from dcops.agent.events import custom, text_content
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


def parsed(frames: bytes) -> list[tuple[int, dict[str, Any]]]:
    """The numbers and events of frames."""
    parts = [frame.split(b"\n") for frame in frames.split(b"\n\n") if frame.startswith(b"id: ")]
    return [(int(number[4:]), orjson.loads(data[6:])) for number, data in parts]


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


def test_a_reader_far_behind_gets_pieces_of_one_text_joined_and_misses_nothing(journal: Journal) -> None:
    async def work(_instance: Any, turn: Turn, following: Callable[[], Awaitable[bytes]]) -> None:
        told = [text_content(f"m{n // 100}", f"{n} ") for n in range(2 * sse.BATCH)]
        told.insert(50, custom("tool.progress", {"call": "c", "percent": 1.0}))
        journal.append(turn.session, turn.id, told)
        frames = parsed(b"".join([await following() for _ in range(3)]))
        assert len(frames) < 12
        assert frames[-1][0] == 1 + len(told)
        texts = [data["delta"] for _, data in frames if data["type"] == "TEXT_MESSAGE_CONTENT"]
        assert "".join(texts) == "".join(f"{n} " for n in range(2 * sse.BATCH))
        assert [seq for seq, data in frames if data["type"] == "CUSTOM"] == [52]

    with_stream(journal, work)


def test_a_reader_in_step_reads_nothing_from_the_journal(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(_instance: Any, turn: Turn, following: Callable[[], Awaitable[bytes]]) -> None:
        waiting = asyncio.ensure_future(following())
        await asyncio.sleep(0.05)
        monkeypatch.setattr(journal, "encoded_events", None)
        for n in range(3):
            await journal.submit(
                lambda n=n: journal.append(turn.session, turn.id, [text_content("m", str(n))])
            )
            assert parsed(await waiting)[0][0] == 2 + n
            waiting = asyncio.ensure_future(following())
        waiting.cancel()

    with_stream(journal, work)


def test_events_of_another_process_come_in_their_order(journal: Journal, tmp_path: Path) -> None:
    other = Journal.open(tmp_path, "i2")

    async def work(_instance: Any, turn: Turn, following: Callable[[], Awaitable[bytes]]) -> None:
        for n in range(20):
            writer = (journal, other)[n % 2]
            await asyncio.to_thread(writer.append, turn.session, turn.id, [text_content("m", str(n))])
        numbers: list[int] = []
        while len(numbers) < 20:
            numbers += [seq for seq, _ in parsed(await following())]
        assert numbers == list(range(2, 22))

    with_stream(journal, work)
    other.close()


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
