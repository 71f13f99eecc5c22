"""Sessions are removed with all they have, on request and when nobody uses them, in small steps."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dcops.agent.events import text_content
from dcops.agent.journal.journal import Journal
from dcops.agent.journal.records import NoSession, TurnRunning
from dcops.agent.service.removal import Removal, _remove_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass
class Runner:
    """Stands where the turns' runner stands, and remembers whose tools were ended."""

    ended: list[str] = field(default_factory=list)

    async def end_session(self, session: str) -> None:
        self.ended.append(session)


class Service:
    """What removes sessions, with a journal and a workspace; `now` is the age that sessions may have."""

    def __init__(self, folder: Path) -> None:
        self.workspace = folder / "workspace"
        self.workspace.mkdir()
        self.journal = Journal.open(folder / "state", "one")
        self.runner = Runner()
        self.serves = True

    def removal(self, keep: float | None = None) -> Removal:
        return Removal(self.journal, self.runner, self.workspace, keep, lambda: self.serves)  # type: ignore[arg-type]

    def used(self, events: int = 3) -> str:
        """A session with a turn that is over, an output, and files."""
        session = self.journal.create_session()
        turn = self.journal.start_turn(session, "hello")
        self.journal.append(session, turn.id, [text_content("m", str(n)) for n in range(events)])
        self.journal.record_call_started(turn, "c", "bash", {})
        self.journal.finish_turn(turn, "done")
        output = self.journal.output_path(session, "c")
        output.parent.mkdir(parents=True)
        output.write_text("all of it")
        place = self.place(session)
        place.mkdir()
        (place / "file").write_text("x")
        return session

    def age(self, session: str) -> None:
        """As if everything in the session had happened long ago."""
        with self.journal._store.transaction() as db:
            db.execute("UPDATE sessions SET created = '2026-01-01T00:00:00.000Z' WHERE id = ?", (session,))
            ended = "UPDATE turns SET ended = '2026-01-01T00:00:00.000Z' WHERE session = ? AND ended NOT NULL"
            db.execute(ended, (session,))

    def place(self, session: str) -> Path:
        return self.workspace / (self.journal.session(session).workspace or "")

    def rows(self) -> int:
        tables = ("sessions", "turns", "events", "messages", "calls")
        return sum(self.journal._store.read(f"SELECT count(*) FROM {table}")[0][0] for table in tables)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path)
    yield service
    service.journal.close()


def test_nothing_is_left_of_a_session_and_the_others_stay(service: Service) -> None:
    kept = service.used()
    rows, gone = service.rows(), service.used()
    place, outputs = service.place(gone), service.journal.outputs(gone)
    asyncio.run(service.removal().remove(gone))
    assert not place.exists()
    assert not outputs.exists()
    assert service.rows() == rows
    assert service.runner.ended == [gone]
    assert (service.place(kept) / "file").read_text() == "x"
    assert service.journal.output_path(kept, "c").read_text() == "all of it"


def test_a_running_turn_refuses(service: Service) -> None:
    session = service.used()
    service.journal.start_turn(session, "again")
    rows = service.rows()
    with pytest.raises(TurnRunning):
        asyncio.run(service.removal().remove(session))
    assert service.rows() == rows
    assert (service.place(session) / "file").exists()
    with pytest.raises(NoSession):
        asyncio.run(service.removal().remove("nobody"))


def test_thousands_of_events_go_in_steps_between_which_others_write(service: Service) -> None:
    session, other = service.used(events=5000), service.journal.create_session()
    largest = 0

    async def work() -> int:
        nonlocal largest
        removing, written = asyncio.create_task(service.removal().remove(session)), 0
        while not removing.done():
            before = service.rows()
            await service.journal.submit(lambda: service.journal.update_session(other, title="x"))
            largest = max(largest, before - service.rows())
            written += 1
        await removing
        return written

    assert asyncio.run(work()) > 10
    assert 0 < largest <= 1000
    assert [found.id for found in service.journal.list_sessions()] == [other]


@pytest.mark.parametrize(("table", "most"), [("messages", 3), ("calls", 200)])
def test_no_step_holds_many_calls_or_long_messages(service: Service, table: str, most: int) -> None:
    session, journal = service.used(), service.journal
    turn = journal.start_turn(session, "again")

    def fill() -> None:
        for number in range(1000):
            journal.record_call_started(turn, str(number), "bash", {})
        for position in range(5, 15):
            journal.put_message(turn, position, {"role": "user", "content": [{"text": "x" * 300_000}]})
        journal.finish_turn(turn, "done")

    def count() -> int:
        return int(journal._store.read(f"SELECT count(*) FROM {table}")[0][0])

    journal.together(fill)
    journal.delete_session(session)
    counts = [count()]
    while journal.remove_some(session):
        counts.append(count())
    assert service.rows() == 0
    assert 0 < max(before - after for before, after in pairwise(counts)) <= most


def test_it_is_out_of_sight_before_its_rows_are_gone(service: Service) -> None:
    session, journal = service.used(), service.journal
    journal.delete_session(session)
    assert journal.list_sessions() == []
    for use in (journal.session, journal.delete_session, lambda s: journal.start_turn(s, "hello")):
        with pytest.raises(NoSession):
            use(session)
    assert journal.events(session)


def test_what_a_dead_instance_left_half_removed_is_removed(service: Service) -> None:
    session = service.used()
    place = service.place(session)
    service.journal.delete_session(session)
    assert service.journal.remove_some(session, 2)
    asyncio.run(service.removal().look())
    assert service.rows() == 0
    assert not place.exists()


def test_only_idle_sessions_are_removed_and_only_where_users_are_served(service: Service) -> None:
    fresh, idle, busy = service.used(), service.used(), service.used()
    spoken = service.used()
    service.journal.start_turn(busy, "still at it")
    for session in (idle, busy, spoken):
        service.age(session)
    service.journal.finish_turn(service.journal.start_turn(spoken, "lately"), "done")

    def left() -> set[str]:
        return {session.id for session in service.journal.list_sessions()}

    asyncio.run(service.removal(None).look())
    service.serves = False
    asyncio.run(service.removal(3600).look())
    assert left() == {fresh, idle, busy, spoken}
    service.serves = True
    asyncio.run(service.removal(3600).look())
    assert left() == {fresh, busy, spoken}
    assert service.runner.ended == [idle]


def test_a_session_that_was_used_in_the_last_moment_stays(service: Service) -> None:
    first, second = service.used(), service.used()
    for session in (first, second):
        service.age(session)

    async def end_session(session: str) -> None:
        """The user speaks to the other one while the first of the two is removed."""
        (spoken,) = {first, second} - {session}
        service.journal.finish_turn(service.journal.start_turn(spoken, "lately"), "done")
        service.runner.ended.append(spoken)

    service.runner.end_session = end_session  # type: ignore[method-assign]
    asyncio.run(service.removal(3600).look())
    assert [session.id for session in service.journal.list_sessions()] == service.runner.ended


def test_two_instances_that_remove_the_same_files_leave_none(tmp_path: Path) -> None:
    place = tmp_path / "place"
    for n in range(20):
        (place / str(n)).mkdir(parents=True)
        for m in range(20):
            (place / str(n) / str(m)).touch()
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(_remove_tree, place) for _ in range(4)]:
            done.result()
    assert not place.exists()


def test_a_session_from_before_workspaces_leaves_the_shared_one_alone(service: Service) -> None:
    session = service.used()
    with service.journal._store.transaction() as db:
        db.execute("UPDATE sessions SET workspace = NULL")
    (service.workspace / "shared").write_text("x")
    asyncio.run(service.removal().remove(session))
    assert (service.workspace / "shared").exists()


def test_an_id_that_a_client_chose_names_no_directory_of_others(service: Service) -> None:
    (service.workspace / "src").mkdir()
    session = service.journal.create_session(session="src")
    assert service.place(session) != service.workspace / "src"
    asyncio.run(service.removal().remove(session))
    assert (service.workspace / "src").exists()


def test_a_link_in_place_of_a_workspace_is_not_followed(service: Service, tmp_path: Path) -> None:
    session = service.used()
    place = service.place(session)
    shutil.rmtree(place)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").touch()
    place.symlink_to(tmp_path / "elsewhere")
    asyncio.run(service.removal().remove(session))
    assert not place.is_symlink()
    assert (tmp_path / "elsewhere" / "file").exists()


def _as_another_user(work: Callable[[], object]) -> None:
    """Runs the work without root's rights, in a process of its own."""
    process = os.fork()
    if process == 0:
        os.setresuid(65534, 65534, 65534)
        try:
            work()
        finally:
            os._exit(0)
    os.waitpid(process, 0)


def test_directories_without_rights_are_removed_too() -> None:
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    place = folder / "place"
    for name, mode in (("read-only", 0o500), ("closed", 0)):
        (place / name / "inner").mkdir(parents=True)
        (place / name / "inner" / "file").touch()
        (place / name).chmod(mode)
    (place / "link").symlink_to("/etc")
    place.chmod(0o500)
    if os.geteuid() == 0:
        for path in (place, *place.rglob("*")):
            os.chown(path, 65534, 65534, follow_symlinks=False)
        _as_another_user(lambda: _remove_tree(place))
    else:
        _remove_tree(place)
    assert not place.exists()
    folder.rmdir()


def size(journal: Journal) -> int:
    journal._store.read("PRAGMA wal_checkpoint(TRUNCATE)")
    return (journal.directory / "journal.db").stat().st_size


def test_the_room_of_a_removed_session_is_given_back(service: Service) -> None:
    service.used(events=300)
    before = size(service.journal)
    session = service.used(events=3000)
    assert size(service.journal) > 2 * before
    asyncio.run(service.removal().remove(session))
    assert size(service.journal) <= before + 8192
    assert service.journal._store.read("PRAGMA integrity_check") == [("ok",)]


def test_a_file_that_cannot_shrink_uses_the_room_again(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    with closing(sqlite3.connect(tmp_path / "state" / "journal.db")) as db:
        db.execute("PRAGMA journal_mode=WAL")  # as the agent made it before it told it to give back
    service = Service(tmp_path)
    assert service.journal._store.read("PRAGMA auto_vacuum") == [(0,)]
    asyncio.run(service.removal().remove(service.used(events=3000)))
    after_one = size(service.journal)
    asyncio.run(service.removal().remove(service.used(events=3000)))
    assert size(service.journal) <= after_one * 1.1
    service.journal.close()
