"""The journal, by itself and between processes."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from dcops.agent import events
from dcops.agent.journal import changes, tables
from dcops.agent.journal.journal import Journal
from dcops.agent.journal.records import (
    BudgetSpent,
    Control,
    JournalTooNew,
    KeyReused,
    NoSession,
    Tokens,
    TooManyTurns,
    TurnRunning,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo
    from pathlib import Path


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal.open(tmp_path, "one")
    yield journal
    journal.close()


@pytest.fixture
def other(tmp_path: Path, journal: Journal) -> Iterator[Journal]:
    """The same file, as another instance has it."""
    del journal
    other = Journal.open(tmp_path, "two")
    yield other
    other.close()


def _texts(count: int) -> list[events.Event]:
    return [events.text_content("m", str(n)) for n in range(count)]


def test_the_journal_keeps_its_identity(tmp_path: Path, journal: Journal, other: Journal) -> None:
    assert other.about() == journal.about()
    fresh = Journal.open(tmp_path / "elsewhere", "one")
    assert fresh.about().id != journal.about().id
    fresh.close()


def test_a_journal_for_newer_readers_is_refused_and_left_alone(tmp_path: Path) -> None:
    Journal.open(tmp_path, "one").close()
    db = sqlite3.connect(tmp_path / "journal.db")
    with db:
        db.execute("UPDATE about SET value = 99 WHERE key = 'min_reader'")
    before = list(db.iterdump())
    with pytest.raises(JournalTooNew, match="schema 99"):
        Journal.open(tmp_path, "one")
    assert list(db.iterdump()) == before
    db.close()


def test_a_journal_of_a_newer_schema_that_still_admits_us_is_opened(tmp_path: Path) -> None:
    Journal.open(tmp_path, "one").close()
    db = sqlite3.connect(tmp_path / "journal.db")
    with db:
        db.execute("UPDATE about SET value = 99 WHERE key = 'schema'")
        db.execute("ALTER TABLE sessions ADD COLUMN mood TEXT")
        db.execute("ALTER TABLE turns ADD COLUMN rating INTEGER")
    db.close()
    journal = Journal.open(tmp_path, "one")
    session = journal.create_session()
    turn = journal.start_turn(session, "hi")
    assert journal.finish_turn(turn, "done")
    journal.close()


def test_a_session_lives_from_its_making_to_its_removal(journal: Journal) -> None:
    session = journal.create_session({"thinking_budget": 2048})
    assert journal.session(session).toggles == {"thinking_budget": 2048}
    journal.update_session(session, title="Tea", directory="/tmp", toggles={"a": 1})
    found = journal.session(session)
    assert (found.title, found.directory, found.toggles, found.running) == ("Tea", "/tmp", {"a": 1}, None)
    journal.delete_session(session)
    for gone in (journal.session, journal.delete_session):
        with pytest.raises(NoSession):
            gone(session)
    with pytest.raises(NoSession):
        journal.update_session(session, title="x")


def test_synthetic_sessions_are_listed_only_on_request(journal: Journal) -> None:
    plain, synthetic = journal.create_session(), journal.create_session(synthetic=True)
    assert [found.id for found in journal.list_sessions()] == [plain]
    assert {found.id for found in journal.list_sessions(synthetic=True)} == {plain, synthetic}


def test_only_what_a_session_has_can_be_set(journal: Journal) -> None:
    with pytest.raises(ValueError, match="no id to set"):
        journal.update_session(journal.create_session(), id="x")


def test_a_turn_begins_with_its_input(journal: Journal) -> None:
    session = journal.create_session()
    turn = journal.start_turn(session, "hello")
    assert turn.fresh
    assert journal.messages(session) == [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]
    ((seq, event),) = journal.events(session)
    assert (seq, event) == (1, events.run_started(session, turn.id, "hello"))
    assert journal.session(session).running == turn.id
    assert journal.session(session).title == "hello"


def test_one_turn_runs_in_a_session(journal: Journal, other: Journal) -> None:
    session = journal.create_session()
    turn = journal.start_turn(session, "a")
    with pytest.raises(TurnRunning) as caught:
        other.start_turn(session, "b")
    assert caught.value.turn == turn.id
    with pytest.raises(TurnRunning):
        other.delete_session(session)
    journal.finish_turn(turn, "done")
    assert other.start_turn(session, "b").fresh


def test_a_repeated_key_finds_the_first_turn(journal: Journal, other: Journal) -> None:
    session = journal.create_session()
    first = journal.start_turn(session, "a", "key")
    again = other.start_turn(session, "a", "key")
    assert (again.id, again.owner, again.fresh) == (first.id, first.owner, False)
    journal.finish_turn(first, "done")
    assert other.start_turn(session, "a", "key").state == "done"
    assert len(journal.messages(session)) == 1
    with pytest.raises(KeyReused):
        other.start_turn(session, "b", "key")


def test_a_client_may_choose_the_ids(journal: Journal, other: Journal) -> None:
    assert journal.create_session({"max_tokens": 7}, session="thread-1") == "thread-1"
    assert other.create_session(session="thread-1") == "thread-1"
    assert journal.session("thread-1").toggles == {"max_tokens": 7}
    turn = journal.start_turn("thread-1", "a", turn_id="run-1")
    assert (turn.id, turn.fresh) == ("run-1", True)
    assert not other.start_turn("thread-1", "a", turn_id="run-1").fresh
    assert journal.events("thread-1")[0][1].data["runId"] == "run-1"
    journal.finish_turn(turn, "done", [events.run_error("x", "y")])
    second = journal.start_turn("thread-1", "b")
    assert (journal.began_after(turn), journal.began_after(second)) == (0, 2)
    for session, text in [("thread-1", "b"), (journal.create_session(), "a")]:
        with pytest.raises(KeyReused):
            journal.start_turn(session, text, turn_id="run-1")


def test_lost_state_is_noticed(journal: Journal) -> None:
    assert journal.exists_on_disk()
    (journal.directory / "owners" / f"{journal.owner}.lock").unlink()  # now others would take it for dead
    assert not journal.exists_on_disk()


def test_an_instance_runs_no_more_turns_than_it_may(journal: Journal, other: Journal) -> None:
    one, two, three = (journal.create_session() for _ in range(3))
    journal.start_turn(one, "a", max_running=1)
    with pytest.raises(TooManyTurns):
        journal.start_turn(two, "a", max_running=1)
    other.start_turn(three, "a", max_running=1)
    with pytest.raises(NoSession):
        journal.start_turn("nothing", "a")


def test_a_turn_ends_once_and_with_its_last_events(journal: Journal) -> None:
    session = journal.create_session()
    turn = journal.start_turn(session, "a")
    assert journal.finish_turn(turn, "done", [events.run_error("x", "y")])
    assert not journal.finish_turn(turn, "interrupted", [events.run_error("x", "z")])
    assert [event.data.get("code") for _, event in journal.events(session)] == [None, "y"]
    ended = journal.turn(turn.id)
    assert ended
    assert ended.state == "done"


def test_sequence_numbers_are_gap_free_whoever_writes(journal: Journal, other: Journal) -> None:
    session = journal.create_session()
    for n in range(20):
        (journal, other)[n % 2].append(session, "t", _texts(n % 4 + 1))
    numbers = [seq for seq, _ in journal.events(session, limit=1000)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert [seq for seq, _ in other.events(session, after=5, limit=3)] == [6, 7, 8]


WRITE = """
import pathlib, sys
from dcops.agent.journal.journal import Journal
from dcops.agent.events import text_content
journal = Journal.open(pathlib.Path(sys.argv[1]), sys.argv[2])
for n in range(200):
    journal.append(sys.argv[3], "t", [text_content(sys.argv[2], str(n))])
journal.close()
"""


@pytest.mark.slow
def test_four_processes_write_one_session_without_a_gap(tmp_path: Path, journal: Journal) -> None:
    session = journal.create_session()
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITE, str(tmp_path), f"w{n}", session], env=os.environ)
        for n in range(4)
    ]
    assert [writer.wait() for writer in writers] == [0, 0, 0, 0]
    found = journal.events(session, limit=10_000)
    assert [seq for seq, _ in found] == list(range(1, 801))
    for n in range(4):
        own = [event.data["delta"] for _, event in found if event.data["messageId"] == f"w{n}"]
        assert own == [str(k) for k in range(200)]


def test_waiters_are_woken_by_another_process(journal: Journal, other: Journal) -> None:
    assert asyncio.run(_woken(other, journal))


def test_who_waits_here_is_woken_without_looking(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "POLL", 1000)
    assert asyncio.run(_woken(journal, journal))


async def _woken(reader: Journal, writer: Journal) -> bool:
    session = writer.create_session()
    with reader.follow(session) as news:
        waiting = asyncio.create_task(news.wait(10))
        await asyncio.sleep(0)
        writer.append(session, "t", _texts(1))
        return await waiting


def test_what_this_process_commits_comes_with_the_bell(journal: Journal, other: Journal) -> None:
    session = journal.create_session()

    async def follow() -> None:
        with journal.follow(session) as news:
            await asyncio.to_thread(journal.append, session, "t", _texts(2))
            assert await news.wait(5)
            assert news.take(0) == journal.encoded_events(session)
            await asyncio.to_thread(other.append, session, "t", _texts(1))
            await asyncio.to_thread(journal.append, session, "t", _texts(1))
            assert await news.wait(5)
            assert news.take(2) is None  # event 3 is not among what this process committed

    asyncio.run(follow())


def test_a_part_that_failed_is_not_told(journal: Journal) -> None:
    session = journal.create_session()

    def failing() -> None:
        journal.append(session, "t", _texts(1))
        raise ZeroDivisionError

    async def follow() -> None:
        with journal.follow(session) as news:
            failed = asyncio.gather(journal.submit(failing), return_exceptions=True)
            told = asyncio.create_task(journal.submit(lambda: journal.append(session, "t", _texts(1))))
            await asyncio.gather(failed, told)
            assert await news.wait(5)
            assert news.take(0) == journal.encoded_events(session)

    asyncio.run(follow())


def test_a_deletion_rings_the_bell(journal: Journal) -> None:
    session = journal.create_session()

    async def follow() -> None:
        with journal.follow(session) as news:
            assert not await news.wait(0.05)
            await asyncio.to_thread(journal.delete_session, session)
            assert await news.wait(5)

    asyncio.run(follow())


def test_messages_can_be_replaced_and_removed(journal: Journal) -> None:
    session = journal.create_session()
    turn = journal.start_turn(session, "a")
    position = journal.next_position(session)
    for text in ("x", "y"):
        message: dict[str, Any] = {"role": "assistant", "content": [{"type": "text", "text": text}]}
        journal.put_message(turn, position, message)
    assert journal.numbered_messages(session)[1:] == [(position, message)]
    journal.put_message(turn, position, None)
    assert len(journal.messages(session)) == 1


def test_a_call_is_started_once_and_answered_once(journal: Journal) -> None:
    turn = journal.start_turn(journal.create_session(), "a")
    assert journal.record_call_started(turn, "c", "bash", {"command": "x"}) is None
    assert not journal.record_call_result(turn, "unknown", {"content": "x"})
    again = journal.record_call_started(turn, "c", "bash", {"command": "x"})
    assert again
    assert again.result is None
    assert journal.record_call_result(turn, "c", {"content": "first"})
    assert not journal.record_call_result(turn, "c", {"content": "second"})
    assert journal.calls(turn)["c"].result == {"content": "first"}


def test_control_reaches_the_owner_from_another_instance(journal: Journal, other: Journal) -> None:
    session = journal.create_session()
    turn = journal.start_turn(session, "a")

    async def watch() -> list[Control]:
        seen: list[Control] = []
        async for control in journal.watch_control(turn):
            seen.append(control)
            if len(seen) == 1:
                await asyncio.sleep(0)
                other.request_control(session, "stop")
            if control.kind == "stop":
                break
        return seen

    assert other.request_control(session, "steer", {"input": "left"}) == turn.id
    assert asyncio.run(watch()) == [Control("steer", "left"), Control("stop")]
    journal.finish_turn(turn, "stopped")
    assert other.request_control(session, "stop") is None


def test_only_a_dead_owners_turns_are_orphans(tmp_path: Path, journal: Journal, other: Journal) -> None:
    session = journal.create_session()
    turn = journal.start_turn(session, "a")
    assert list(other.orphans()) == []
    assert list(journal.orphans()) == []
    journal._owners.close()
    third = Journal.open(tmp_path, "three")
    for orphan in other.orphans():
        assert orphan.id == turn.id
        assert list(third.orphans()) == []  # one claims it at a time
        other.finish_turn(orphan, "interrupted")
    assert list(third.orphans()) == []
    third.close()
    journal._owners = type(journal._owners)(tmp_path / "owners", "one")


@pytest.mark.parametrize("call", ["toolu_01AbC-9", "../../etc/passwd", "a" * 500, "ü", ""])
def test_an_outputs_path_stays_in_its_folder(journal: Journal, call: str) -> None:
    path = journal.output_path("session", call)
    assert path.parent == journal.directory / "outputs" / "session"
    assert len(path.name) < 200


def test_the_loop_goes_on_while_the_disk_is_busy(journal: Journal, tmp_path: Path) -> None:
    session = journal.create_session()
    busy = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)

    async def append() -> int:
        busy.execute("BEGIN IMMEDIATE")
        appending = asyncio.create_task(journal.submit(lambda: journal.append(session, "t", _texts(5))))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not appending.done()
        busy.execute("ROLLBACK")
        return await appending

    assert asyncio.run(append()) == 5
    busy.close()


def test_tokens_of_all_instances_are_summed_by_the_day(journal: Journal, other: Journal) -> None:
    assert journal.tokens_today() == Tokens()
    journal.count_tokens(Tokens(1, 2, 3, 4))
    other.count_tokens(Tokens(10, 20, 30, 40))
    assert journal.tokens_today() == other.tokens_today() == Tokens(11, 22, 33, 44)
    assert journal.tokens_today().total == 110


def test_at_midnight_another_day_begins(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        moment = datetime(2126, 11, 21, 23, 59, 58, 600_000, UTC)

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return cls.moment.astimezone(tz)

    monkeypatch.setattr(tables, "datetime", Clock)
    session = journal.create_session()
    journal.count_tokens(Tokens(input=100))
    with pytest.raises(BudgetSpent) as refused:
        journal.start_turn(session, "a", daily_tokens=100)
    assert refused.value.seconds == 2  # who comes back then must not come too early
    Clock.moment += timedelta(seconds=refused.value.seconds)
    assert journal.tokens_today() == Tokens()
    assert journal.start_turn(session, "a", daily_tokens=100).fresh
    journal.count_tokens(Tokens(output=1))
    assert journal.tokens_today() == Tokens(output=1)


def test_no_turn_starts_when_the_tokens_of_the_day_are_used_up(journal: Journal) -> None:
    session = journal.create_session()
    journal.count_tokens(Tokens(input=90, output=9))
    first = journal.start_turn(session, "a", "key", daily_tokens=100)
    journal.finish_turn(first, "done")
    journal.count_tokens(Tokens(cache_read=1))
    with pytest.raises(BudgetSpent, match="100 of 100"):
        journal.start_turn(session, "b", daily_tokens=100)
    assert journal.start_turn(session, "a", "key", daily_tokens=100).id == first.id
    assert journal.start_turn(session, "b", daily_tokens=0).fresh


def test_what_is_asked_in_the_commit_that_ends_a_turn_is_taken(journal: Journal) -> None:
    session = journal.create_session()
    turn = journal.start_turn(session, "a")

    def together() -> list[Control]:
        journal.request_control(session, "steer", {"input": "late"})
        return journal.take_controls(turn)

    async def test() -> list[Control]:
        return await journal.submit(together)

    assert asyncio.run(test()) == [Control("steer", "late")]


def test_only_words_steer_a_turn(journal: Journal) -> None:
    session = journal.create_session()
    turn = journal.start_turn(session, "a")
    journal.request_control(session, "steer", {"other": "words"})
    assert not journal.is_steered(turn)
    journal.request_control(session, "steer", {"input": "words"})
    assert journal.is_steered(turn)
