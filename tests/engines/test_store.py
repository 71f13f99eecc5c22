from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dcops.core.chain import Chain, follow
from dcops.engines import control
from dcops.engines.store import LocalStore, MemoryStore, Store
from dcops.errors import LockLost

if TYPE_CHECKING:
    from collections.abc import Callable

    from dcops.core.protocols import ControlStore

SOURCE = Path(control.__file__).read_text()


def scripted(roots: dict[str, str], operations: list[dict[str, Any]]) -> list[Any]:
    """Run the operations as an engine does that can only run a script beside the proxy."""
    request = json.dumps({"roots": roots, "operations": operations}) + "\n"
    done = subprocess.run(
        [sys.executable, "-I", "-c", SOURCE], input=request, capture_output=True, text=True, check=True
    )
    answer = json.loads(done.stdout)
    if "error" in answer:
        kind, _, text = answer["error"].partition(": ")
        raise {"FenceMoved": control.FenceMoved}.get(kind, ValueError)(text)
    results: list[Any] = answer["results"]
    return results


@pytest.fixture(params=["local", "script", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ControlStore:
    root, instances = tmp_path / "control", tmp_path / "instances"
    if request.param == "memory":
        return MemoryStore()
    if request.param == "local":
        return LocalStore(root, instances)
    roots = {"": str(root), "instances": str(instances)}
    return Store(lambda operations: scripted(roots, operations))


def test_what_was_written_is_read_and_listed(store: ControlStore) -> None:
    store.write({"current": b"unix//x", "gateway/api/ab": b"", "gateway/api/aa": b"\x00\xff"})
    assert store.read("current", "gateway/api/aa", "nothing") == {
        "current": b"unix//x",
        "gateway/api/aa": b"\x00\xff",
        "nothing": None,
    }
    assert store.list("gateway", "gateway/api", "operator") == {
        "gateway": ["api"],
        "gateway/api": ["aa", "ab"],
        "operator": [],
    }


def test_none_removes_a_file_or_a_tree(store: ControlStore) -> None:
    store.write({"operator/one/s": b"", "operator/two/s": b"", "current": b"x"})
    store.write({"operator/one": None, "current": None, "never/was": None})
    assert store.list("operator") == {"operator": ["two"]}
    assert store.read("current", "operator/one/s") == {"current": None, "operator/one/s": None}


def test_create_succeeds_once(store: ControlStore) -> None:
    assert store.create("records/lock", b"me") is True
    assert store.create("records/lock", b"you") is False
    assert store.read("records/lock") == {"records/lock": b"me"}


def test_append_cuts_off_a_torn_last_line(store: ControlStore) -> None:
    store.append("records/journal", b"one")
    whole = store.read("records/journal")["records/journal"] or b""
    store.write({"records/journal": whole + b'{"to'})
    store.append("records/journal", b"two")
    assert store.read("records/journal") == {"records/journal": b"one\ntwo\n"}


def test_a_torn_line_longer_than_a_block_is_found(tmp_path: Path) -> None:
    store = LocalStore(tmp_path, tmp_path / "instances")
    store.write({"journal": b"x" * 100 + b"\n" + b"y" * 200_000})
    store.append("journal", b"z")
    assert store.read("journal")["journal"] == b"x" * 100 + b"\nz\n"


def test_a_line_holds_no_newline(store: ControlStore) -> None:
    with pytest.raises(ValueError, match="newline"):
        store.append("journal", b"a\nb")


@pytest.mark.parametrize(
    "path", ["../x", "a/../../x", "/etc/passwd", "a//b", "a/./b", "", "a/", ".hidden", "a\0b", "instances"]
)
@pytest.mark.parametrize("kind", ["local", "script"])
def test_paths_that_leave_the_store_are_refused_before_anything_is_written(
    kind: str, path: str, tmp_path: Path
) -> None:
    roots = {"": str(tmp_path / "control"), "instances": str(tmp_path / "instances")}
    store = Store(lambda operations: (scripted if kind == "script" else control.apply)(roots, operations))
    with pytest.raises(ValueError, match="refused path"):
        store.write({"good": b"x", path: b"x"})
    assert not (tmp_path / "control").exists()
    with pytest.raises(ValueError, match="refused path"):
        store.read(path)


def test_a_link_does_not_lead_out(tmp_path: Path) -> None:
    (tmp_path / "control").mkdir()
    (tmp_path / "secret").write_text("s")
    (tmp_path / "control" / "file").symlink_to(tmp_path / "secret")
    (tmp_path / "control" / "out").symlink_to(tmp_path)
    store = LocalStore(tmp_path / "control", tmp_path / "instances")
    for path in ("file", "out/secret"):
        with pytest.raises(ValueError, match="over a link"):
            store.read(path)
        with pytest.raises(ValueError, match="over a link"):
            store.write({path: None})
    assert (tmp_path / "secret").read_text() == "s"


def test_only_what_instances_see_is_readable_by_others(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        store = LocalStore(tmp_path / "control", tmp_path / "instances")
        store.write({"gateway/api/aa": b"", "instances/a/role.json": b"{}"})
        store.append("records/history", b"x")
    finally:
        os.umask(before)

    def mode(path: str) -> str:
        return oct((tmp_path / path).stat().st_mode & 0o777)

    assert mode("control/gateway") == mode("control/gateway/api") == "0o700"
    assert mode("control/gateway/api/aa") == mode("control/records/history") == "0o600"
    assert mode("instances/a") == "0o755"
    assert mode("instances/a/role.json") == "0o644"


def test_readers_see_whole_files_while_they_are_replaced(tmp_path: Path) -> None:
    store = LocalStore(tmp_path, tmp_path / "instances")
    store.write({"current": b"a" * 5000})
    writer = threading.Thread(
        target=lambda: [store.write({"current": bytes([97 + n % 2]) * 5000}) for n in range(50)]
    )
    writer.start()
    seen = 0
    while writer.is_alive() or seen == 0:
        content = store.read("current")["current"]
        assert content in (b"a" * 5000, b"b" * 5000)
        seen += 1
    writer.join()
    assert [each.name for each in tmp_path.iterdir()] == ["current"]


def test_of_many_that_create_one_wins_and_appends_are_not_mixed(tmp_path: Path) -> None:
    store = LocalStore(tmp_path, tmp_path / "instances")
    won: list[bool] = []

    def contend(name: bytes) -> None:
        won.append(store.create("lock", name))
        for _ in range(10):
            store.append("journal", name * 100)

    threads = [threading.Thread(target=contend, args=(b"%d" % n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 7 + [True]
    lines = (store.read("journal")["journal"] or b"").splitlines()
    assert sorted(lines) == sorted(b"%d" % n * 100 for n in range(8) for _ in range(10))


def test_behind_a_fence_things_change_only_while_it_stands(store: ControlStore) -> None:
    store.write({"records/lease.json": b'{"fence": 7}', "current": b"x"})
    store.fence("records/lease.json", 7)
    store.write({"current": b"y"})
    store.fence("records/lease.json", 6)
    changes: list[Callable[[], object]] = [
        lambda: store.write({"current": b"z"}),
        lambda: store.write({"current": None}),
        lambda: store.append("journal", b"line"),
        lambda: store.chain("history", b"{}"),
        lambda: store.create("new", b""),
        lambda: store.swap("current", b"z", expect=b"y"),
    ]
    for change in changes:
        with pytest.raises(LockLost) as caught:
            change()
        assert caught.value.code == "DC-LOCK-LOST"
    assert store.read("current", "journal", "history", "new") == {
        "current": b"y",
        "journal": None,
        "history": None,
        "new": None,
    }
    store.fence("records/lease.json", None)
    store.write({"current": b"z"})
    assert store.read("current") == {"current": b"z"}


def test_a_fence_falls_with_its_document(store: ControlStore) -> None:
    store.write({"records/lease.json": b'{"fence": 7}'})
    store.fence("records/lease.json", 7)
    store.write({"records": None})
    with pytest.raises(LockLost):
        store.write({"records/lease.json": b'{"fence": 7}'})


def test_a_swap_holds_only_while_nobody_else_has_written(store: ControlStore) -> None:
    store.write({"other": b""})
    assert store.swap("lease", b"one", expect=None) is None
    found = store.swap("lease", b"two", expect=None)
    assert found is not None
    assert found.content == b"one"
    assert store.swap("lease", b"two", expect=b"one") is None
    assert store.read("lease") == {"lease": b"two"}


def test_a_file_that_was_emptied_is_no_missing_one(store: ControlStore) -> None:
    store.write({"lease": b""})
    found = store.swap("lease", b"x", expect=None)
    assert found is not None
    assert found.content == b""
    assert store.swap("lease", b"x", expect=b"") is None


@pytest.mark.parametrize("kind", ["local", "script"])
def test_where_there_is_no_store_a_swap_makes_none(kind: str, tmp_path: Path) -> None:
    roots = {"": str(tmp_path / "control"), "instances": str(tmp_path / "instances")}
    store = Store(lambda operations: (scripted if kind == "script" else control.apply)(roots, operations))
    assert store.swap("lease", b"x", expect=None) == (None, 0.0)
    assert store.look("lease") == (None, 0.0)
    assert not (tmp_path / "control").exists()


def test_an_age_is_that_of_the_last_write(store: ControlStore) -> None:
    assert store.look("lease") == (None, 0.0)
    store.write({"lease": b"x"})
    young = store.look("lease")
    assert young.content == b"x"
    assert 0 <= young.age < 20


def test_an_age_is_told_by_the_clock_beside_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = {"": str(tmp_path)}
    store = Store(lambda operations: scripted(roots, operations))
    store.write({"lease": b"x"})
    os.utime(tmp_path / "lease", (time.time() - 100, time.time() - 100))
    monkeypatch.setattr(time, "time", lambda: 5.0)
    assert 99 < store.look("lease").age < 150


def test_each_line_of_a_chain_names_the_one_before(store: ControlStore) -> None:
    for number in range(3):
        store.chain("history", b'{"n": %d}' % number)
    content = store.read("history")["history"] or b""
    assert follow(content) == Chain(3, 3, hashlib.sha256(content.splitlines()[-1]).hexdigest())
    assert [json.loads(line)["n"] for line in content.splitlines()] == [0, 1, 2]


def test_a_chain_goes_on_behind_a_torn_line_and_behind_lines_without_one(store: ControlStore) -> None:
    store.append("history", b'{"n": 0}')
    store.chain("history", b'{"n": 1, "long": "%s"}' % (b"x" * 70_000))
    whole = store.read("history")["history"] or b""
    store.write({"history": whole + b'{"torn'})
    assert follow(store.read("history")["history"]).entries == 2
    store.chain("history", b'{"n": 2}')
    found = follow(store.read("history")["history"])
    assert (found.entries, found.chained) == (3, 2)


@pytest.mark.slow
def test_of_eight_processes_that_append_to_a_chain_none_breaks_it(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from dcops.engines.store import LocalStore\n"
        "store = LocalStore(Path(sys.argv[1]), Path(sys.argv[1]) / 'instances')\n"
        "for n in range(25): store.chain('history', b'{\"by\": %s, \"n\": %d}' % (sys.argv[2].encode(), n))"
    )
    running = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(n)]) for n in range(8)]
    assert [each.wait(60) for each in running] == [0] * 8
    content = (tmp_path / "history").read_bytes()
    assert follow(content).chained == 200
    written = [json.loads(line) for line in content.splitlines()]
    assert sorted((each["by"], each["n"]) for each in written) == [
        (by, n) for by in range(8) for n in range(25)
    ]
