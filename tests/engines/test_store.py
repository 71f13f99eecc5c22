from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dcops.engines import control
from dcops.engines.store import LocalStore, MemoryStore, Store

if TYPE_CHECKING:
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
        raise ValueError(answer["error"])
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
