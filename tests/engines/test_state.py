"""State as a tar stream: what is in it, what is not, and what it may not do when it is loaded."""

from __future__ import annotations

import io
import os
import socket
import sqlite3
import tarfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dcops.engines import state
from dcops.engines.docker import DockerEngine
from dcops.errors import PreconditionMissing

if TYPE_CHECKING:
    from collections.abc import Callable

    from dcops.core.protocols import Engine

    from .conftest import Rig


@pytest.fixture
def roots(tmp_path: Path) -> dict[str, Path]:
    made = {name: tmp_path / name for name in ("state", "workspace")}
    for each in made.values():
        each.mkdir()
    (tmp_path / "scratch").mkdir()
    return made


def saved(roots: dict[str, Path]) -> tuple[bytes, list[str]]:
    stream = io.BytesIO()
    left_out = state.save(roots, next(iter(roots.values())).parent / "scratch", stream)
    return stream.getvalue(), left_out


def names(archive: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return opened.getnames()


def content(root: Path) -> dict[str, tuple[int, bytes | str]]:
    """Mode, and bytes or link, by path."""
    found: dict[str, tuple[int, bytes | str]] = {}
    for place in sorted(root.rglob("*")):
        what = str(place.readlink()) if place.is_symlink() else place.read_bytes() if place.is_file() else b""
        found[str(place.relative_to(root))] = (place.lstat().st_mode, what)
    return found


def test_what_was_saved_is_loaded_and_nothing_else_stays(roots: dict[str, Path]) -> None:
    state_, workspace = roots.values()
    (state_ / "empty").mkdir(mode=0o700)
    (state_ / "a b ä").write_bytes(b"\0" * 100_000)
    (workspace / "deep" / "er").mkdir(parents=True)
    (workspace / "deep" / "er" / "tool").write_text("#!/bin/sh")
    (workspace / "deep" / "er" / "tool").chmod(0o550)
    (workspace / "deep" / "link").symlink_to("./er/../er/tool")
    (workspace / "deep" / "dangling").symlink_to("nowhere")
    os.utime(state_ / "a b ä", (1, 1_000_000_000))
    before = {name: content(root) for name, root in roots.items()}
    archive, left_out = saved(roots)
    assert left_out == []
    (state_ / "a b ä").write_text("changed")
    (workspace / "deep" / "er" / "tool").unlink()
    (workspace / "new" / "closed").mkdir(parents=True)
    (workspace / "new" / "closed").chmod(0)
    (workspace / "new").chmod(0o500)
    for _ in range(2):
        state.load(roots, io.BytesIO(archive))
        assert {name: content(root) for name, root in roots.items()} == before
    assert (state_ / "a b ä").stat().st_mtime == 1_000_000_000


def test_a_database_in_use_is_whole_and_alone(roots: dict[str, Path]) -> None:
    path = roots["state"] / "journal of #1?.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma wal_autocheckpoint = 0")
        connection.execute("create table numbers (number)")
    connection.execute("insert into numbers values (1)")
    connection.commit()
    connection.execute("insert into numbers values (2)")
    assert Path(f"{path}-wal").stat().st_size > 0
    archive, left_out = saved(roots)
    connection.rollback()
    connection.close()
    assert left_out == []
    assert names(archive) == ["state/journal of #1?.sqlite", "state", "workspace"]
    state.load(roots, io.BytesIO(archive))
    with sqlite3.connect(path) as loaded:
        assert loaded.execute("select number from numbers").fetchall() == [(1,)]
    loaded.close()


def test_a_database_that_is_written_all_the_time_is_saved_as_at_one_moment(roots: dict[str, Path]) -> None:
    path, enough = roots["workspace"] / "pairs.db", threading.Event()

    def write() -> None:
        with sqlite3.connect(path, timeout=30) as connection:
            connection.execute("pragma journal_mode = wal")
            connection.execute("create table pairs (number)")
            for number in range(100_000):
                connection.executemany("insert into pairs values (?)", [(number,), (-number,)])
                connection.commit()
                if number > 50:
                    started.set()
                if enough.is_set():
                    break
        connection.close()

    started = threading.Event()
    writer = threading.Thread(target=write)
    writer.start()
    assert started.wait(20)
    archives = [saved(roots)[0] for _ in range(5)]
    enough.set()
    writer.join()
    counts = []
    for archive in archives:
        state.load(roots, io.BytesIO(archive))
        with sqlite3.connect(path) as loaded:
            count, total = loaded.execute("select count(*), sum(number) from pairs").fetchone()
            assert loaded.execute("pragma integrity_check").fetchall() == [("ok",)]
        loaded.close()
        assert (count % 2, total) == (0, 0)
        counts.append(count)
    assert counts == sorted(counts)


def test_what_only_begins_like_a_database_is_copied_with_its_companions(roots: dict[str, Path]) -> None:
    like = b"SQLite format 3\0 and more" * 1000
    (roots["workspace"] / "short").write_bytes(like[:20])
    (roots["workspace"] / "short-wal").write_bytes(b"kept")
    (roots["workspace"] / "x").write_bytes(like)
    (roots["workspace"] / "x-wal").write_bytes(b"kept")
    archive, left_out = saved(roots)
    in_it = [f"workspace/{name}" for name in ("short", "short-wal", "x", "x-wal")]
    assert (names(archive), left_out) == ([*in_it, "state", "workspace"], [])
    state.load(roots, io.BytesIO(archive))
    assert (roots["workspace"] / "x").read_bytes() == like


def test_a_database_that_somebody_locks_is_named(
    roots: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "LOCKED_SECONDS", 0)
    connection = sqlite3.connect(roots["state"] / "x.db", isolation_level=None)
    connection.execute("create table t (x)")
    connection.execute("begin exclusive")
    archive, left_out = saved(roots)
    connection.close()
    assert (names(archive), left_out) == (["state", "workspace"], ["state/x.db"])


def test_sockets_and_pipes_stay_out_and_links_that_lead_out_are_named(roots: dict[str, Path]) -> None:
    workspace = roots["workspace"]
    os.mkfifo(workspace / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(short(workspace))
        for number, target in enumerate(["/etc/passwd", "../state", "x/../../y", ".."]):
            (workspace / f"link{number}").symlink_to(target)
        archive, left_out = saved(roots)
    assert names(archive) == ["state", "workspace"]
    assert left_out == [f"workspace/link{number}" for number in range(4)]


def short(directory: Path) -> str:
    """A path of a socket there that is not too long for one."""
    return f"/proc/self/fd/{os.open(directory, os.O_RDONLY)}/socket"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_what_cannot_be_read_is_named(roots: dict[str, Path]) -> None:
    (roots["state"] / "closed").write_text("x")
    (roots["state"] / "closed").chmod(0)
    assert saved(roots)[1] == ["state/closed"]


def archive_of(*entries: tarfile.TarInfo | str, whole: bool = True) -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for entry in (*entries, *(["state", "workspace"] if whole else [])):
            if isinstance(entry, str):
                info = tarfile.TarInfo(entry)
                info.type = tarfile.DIRTYPE if whole and entry in ("state", "workspace") else tarfile.REGTYPE
                archive.addfile(info)
            else:
                archive.addfile(entry)
    stream.seek(0)
    return stream


def entry(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


BAD: dict[str, Callable[[], io.BytesIO]] = {
    "no archive": lambda: io.BytesIO(b"x" * 20480),
    "empty": lambda: io.BytesIO(b""),
    "empty archive": lambda: archive_of(whole=False),
    "half of it": lambda: archive_of(entry("state", tarfile.DIRTYPE), whole=False),
    "cut": lambda: io.BytesIO(archive_of(*(f"state/{number}" for number in range(30))).getvalue()[:5000]),
    "absolute": lambda: archive_of("/tmp/out"),
    "parent": lambda: archive_of("state/../out"),
    "other root": lambda: archive_of("out/x"),
    "dot": lambda: archive_of("state/./x"),
    "link out": lambda: archive_of(entry("state/x", tarfile.SYMTYPE, "../../out")),
    "absolute link": lambda: archive_of(entry("state/x", tarfile.SYMTYPE, "/etc")),
    "hard link": lambda: archive_of("state/y", entry("state/x", tarfile.LNKTYPE, "state/y")),
    "device": lambda: archive_of(entry("state/x", tarfile.CHRTYPE)),
    "pipe": lambda: archive_of(entry("state/x", tarfile.FIFOTYPE)),
    "twice": lambda: archive_of("state/x", "state/x"),
    "through a link": lambda: archive_of(entry("state/x", tarfile.SYMTYPE, "."), "state/x/y"),
    "own name": lambda: archive_of(f"state/{state.LOADING}/x"),
}


@pytest.mark.parametrize("bad", BAD)
def test_an_archive_that_is_bad_changes_nothing(roots: dict[str, Path], bad: str) -> None:
    (roots["state"] / "kept").write_text("kept")
    with pytest.raises(state.FAILURES):
        state.load(roots, BAD[bad]())
    assert content(roots["state"]).keys() == {"kept"}
    assert content(roots["workspace"]) == {}
    assert sorted(each.name for each in roots["state"].parent.iterdir()) == ["scratch", "state", "workspace"]


def test_a_crash_between_is_repaired_by_loading_again(
    roots: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        (roots["state"] / f"{number}").write_text("saved")
    archive, _ = saved(roots)
    before = content(roots["state"])
    for number in range(5):
        (roots["state"] / f"{number}").write_text("later")
    rename, count = Path.rename, iter(range(100))

    def crash(place: Path, target: Path) -> Path:
        if next(count) == 2:
            raise KeyboardInterrupt
        return rename(place, target)

    monkeypatch.setattr(Path, "rename", crash)
    with pytest.raises(KeyboardInterrupt):
        state.load(roots, io.BytesIO(archive))
    assert content(roots["state"]) != before
    assert state.LOADING not in " ".join(names(saved(roots)[0]))
    state.load(roots, io.BytesIO(archive))
    assert content(roots["state"]) == before


# On the engines


WRITES = """
import os, sqlite3
from pathlib import Path
state, workspace = Path(os.environ["DCOPS_STATE_DIR"]), Path(os.environ["DCOPS_WORKSPACE"])
connection = sqlite3.connect(state / "journal.db")
connection.execute("pragma journal_mode = wal")
connection.execute("create table if not exists t (x)")
connection.execute("insert into t values (1)")
connection.commit()
(workspace / "closed").mkdir(mode=0o700)
(workspace / "closed" / "tool").write_text("#!/bin/sh")
(workspace / "closed" / "tool").chmod(0o700)
(workspace / "big").write_bytes(os.urandom(1 << 20) * 3)
"""
SPOILS = """
import os, sqlite3
from pathlib import Path
state, workspace = Path(os.environ["DCOPS_STATE_DIR"]), Path(os.environ["DCOPS_WORKSPACE"])
sqlite3.connect(state / "journal.db").execute("drop table t")
(workspace / "closed" / "tool").unlink()
(workspace / "later").write_text("x")
"""
LOOKS = """
import hashlib, os, sqlite3, subprocess
from pathlib import Path
state, workspace = Path(os.environ["DCOPS_STATE_DIR"]), Path(os.environ["DCOPS_WORKSPACE"])
connection = sqlite3.connect(state / "journal.db")
print(connection.execute("select count(*) from t").fetchone()[0])
connection.execute("insert into t values (2)")
connection.rollback()
subprocess.run([workspace / "closed" / "tool"], check=True)
for each in sorted([*state.iterdir(), *workspace.rglob("*")]):
    print(each.name, oct(each.stat().st_mode), each.stat().st_uid == os.getuid())
print(hashlib.sha256((workspace / "big").read_bytes()).hexdigest())
"""


def python(rig: Rig, engine: Engine, text: str) -> tuple[str, ...]:
    outcome = engine.run(rig.spec("script"), ["python", "-c", text])
    assert outcome.code == 0, outcome.lines
    return tuple(line for line in outcome.lines if "journal.db-" not in line)


def test_an_environments_state_is_saved_and_loaded(real: Rig, tmp_path: Path) -> None:
    engine = real.engine()
    site = real.serve(engine, real.spec("one"))
    site.post("/keep", b"kept")
    python(real, engine, WRITES)
    before = python(real, engine, LOOKS)
    assert engine.save_state(tmp_path / "state.tar") == []
    assert {each.name for each in tmp_path.iterdir() if each.is_file()} == {"state.tar"}
    engine.stop("one")
    python(real, engine, SPOILS)
    for _ in range(2):
        engine.load_state(tmp_path / "state.tar")
        assert python(real, engine, LOOKS) == before
    site = real.serve(engine, real.spec("one"))
    assert site.get("/kept") == {"kept": "kept"}
    assert "1" in before
    if isinstance(engine, DockerEngine):
        assert engine._daemon.containers({**engine._names.labels, "dcops.role": "helper"}) == []


def test_state_that_is_no_archive_is_refused_and_nothing_is_lost(real: Rig, tmp_path: Path) -> None:
    engine = real.engine()
    engine.build(real.context(), lambda _: None)
    python(real, engine, WRITES)
    before = python(real, engine, LOOKS)
    (tmp_path / "bad.tar").write_bytes(os.urandom(5_000_000))
    with pytest.raises(PreconditionMissing) as caught:
        engine.load_state(tmp_path / "bad.tar")
    assert caught.value.code == "DC-STATE-FAILED"
    assert python(real, engine, LOOKS) == before
    with pytest.raises(PreconditionMissing) as caught:
        engine.save_state(tmp_path / "no" / "such" / "directory.tar")
    assert caught.value.code == "DC-STATE-FAILED"
