"""One store, several state directories: what operators on several machines have."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from dcops.engines import control
from dcops.engines.store import LocalStore, MemoryStore, Store
from dcops.errors import DcopsError, LockLost, PreconditionMissing
from dcops.records import lease as lease_module
from dcops.records.lease import PATH, Lease
from dcops.records.lock import EnvironmentLock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOLDER = """\
import os, sys, time
from pathlib import Path
from dcops.engines.store import LocalStore
from dcops.records.lease import Lease
from dcops.records.lock import EnvironmentLock

root, directory = map(Path, sys.argv[1:])
lease = Lease(LocalStore(root / "control", root / "instances"), directory, print)
held = EnvironmentLock(directory / "lock", "dev", lease).acquire("deploy")
held.step("switch")
print("held", flush=True)
time.sleep(600)
"""


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


@dataclass
class Operator:
    """One state directory, with its own way to the one store."""

    directory: Path
    store: Store
    said: list[str] = field(default_factory=list)

    @property
    def lock(self) -> EnvironmentLock:
        lease = Lease(self.store, self.directory, self.said.append)
        return EnvironmentLock(self.directory / "lock", "dev", lease)


@dataclass
class Site:
    root: Path

    def operator(self, name: str) -> Operator:
        return Operator(self.root / name, LocalStore(self.root / "control", self.root / "instances"))

    @property
    def file(self) -> Path:
        return self.root / "control" / PATH

    def lease(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.file.read_bytes())
        return document

    def move(self, *, silent: float = 0.0) -> None:
        """Make the lease that of another machine, which has been silent for so many seconds."""
        self.file.write_text(json.dumps(self.lease() | {"machine": "elsewhere", "by": "ann@laptop"}))
        os.utime(self.file, (time.time() - silent, time.time() - silent))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "control").mkdir()
    return Site(tmp_path)


def refused(lock: EnvironmentLock, **options: Any) -> PreconditionMissing:
    with pytest.raises(PreconditionMissing) as caught:
        lock.acquire("toggle", **options)
    assert caught.value.code == "DC-LOCK-HELD"
    return caught.value


def test_a_second_state_directory_is_told_who_holds_the_lock(site: Site) -> None:
    with site.operator("a").lock.acquire("deploy") as held:
        held.step("verify")
        until(lambda: site.lease()["step"] == "verify")
        error = refused(site.operator("b").lock)
        holder = site.operator("b").lock.holder()
    assert f"(pid {os.getpid()}) runs 'deploy', at step 'verify'" in error.why
    assert error.detail["holder"] == holder
    assert holder is not None
    assert holder.keys() == {"by", "host", "pid", "operation", "step", "since"}
    assert site.operator("b").lock.holder() is None
    site.operator("b").lock.acquire("toggle").release()


def test_whoever_waits_gets_it_when_the_other_lets_go(site: Site) -> None:
    held = site.operator("a").lock.acquire("deploy")
    threading.Timer(0.2, held.release).start()
    other = site.operator("b")
    with other.lock.acquire("toggle", wait=30.0):
        assert site.lease()["operation"] == "toggle"
    assert other.said == []


def test_a_fence_only_grows_and_stays_when_nobody_holds_it(site: Site) -> None:
    fences = []
    for name in "abab":
        with site.operator(name).lock.acquire("deploy"):
            fences.append(site.lease()["fence"])
        assert site.lease() == {"format": 1, "fence": fences[-1]}
    assert fences == [fences[0] + step for step in range(4)]


@pytest.mark.slow
def test_an_owner_that_was_killed_is_taken_over_from_and_named(site: Site) -> None:
    words = [sys.executable, "-c", HOLDER, str(site.root), str(site.root / "a")]
    process = subprocess.Popen(words, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    until(lambda: site.lease()["step"] == "switch")
    refused(site.operator("b").lock)
    process.kill()
    # Not reaped yet: a process that is only a name still counts as gone.
    other = site.operator("b")
    other.lock.acquire("abort", wait=10.0).release()
    process.wait()
    assert len(other.said) == 1
    assert "whose deploy died at step 'switch'" in other.said[0]


def test_a_pid_that_was_given_to_another_process_is_no_owner(site: Site) -> None:
    held = site.operator("a").lock.acquire("deploy")
    site.file.write_text(json.dumps(site.lease() | {"started": "1"}))
    site.operator("b").lock.acquire("toggle").release()
    held.release()


def test_whoever_has_the_flock_knows_that_its_last_holder_is_gone(site: Site) -> None:
    """As after a release that did not reach the store: the process may go on to live."""
    held = site.operator("a").lock.acquire("deploy")
    stale = site.lease()
    held.release()
    site.file.write_text(json.dumps(stale))
    refused(site.operator("b").lock)
    again = site.operator("a")
    assert again.lock.holder() is None
    again.lock.acquire("deploy").release()
    assert "whose deploy died" in again.said[0]


def test_another_machine_lives_while_it_is_heard_of(site: Site) -> None:
    held = site.operator("a").lock.acquire("deploy")
    site.move(silent=20)
    error = refused(site.operator("b").lock)
    assert "ann@laptop" in error.why
    assert "last heard of 20 s ago" in error.why
    site.move(silent=31)
    other = site.operator("b")
    other.lock.acquire("abort").release()
    assert other.said == ["took over from ann@laptop, whose deploy died 31 s ago"]
    held.release()


def test_an_owner_that_was_silent_for_minutes_is_told_in_minutes(site: Site) -> None:
    held = site.operator("a").lock.acquire("deploy")
    site.move(silent=600)
    other = site.operator("b")
    other.lock.acquire("abort").release()
    assert other.said == ["took over from ann@laptop, whose deploy died 10 min ago"]
    held.release()


def test_a_wrong_clock_makes_nobody_dead(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    held = site.operator("a").lock.acquire("deploy")
    site.move()
    roots = {"": str(site.root / "control"), "instances": str(site.root / "instances")}

    def apart(operations: list[dict[str, Any]]) -> list[Any]:
        """Beside the store, where another clock goes."""
        program = (
            "import json, sys; from dcops.engines.control import apply\n"
            f"json.dump(apply({roots}, json.load(sys.stdin)), sys.stdout)"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], input=json.dumps(operations).encode(), stdout=-1, check=True
        )
        results: list[Any] = json.loads(done.stdout)
        return results

    year = time.time() + 365 * 86_400
    monkeypatch.setattr(time, "time", lambda: year)
    refused(Operator(site.root / "b", Store(apart)).lock)
    monkeypatch.undo()
    held.release()


def test_who_was_taken_over_from_writes_nothing_more(site: Site) -> None:
    first = site.operator("a")
    held = first.lock.acquire("deploy")
    first.store.write({"current": b"a"})
    site.move(silent=60)
    second = site.operator("b")
    with second.lock.acquire("abort"):
        with pytest.raises(LockLost) as caught:
            first.store.write({"current": b"late"})
        assert caught.value.exit_code == 6
        second.store.write({"current": b"b"})
        taken = site.lease()
        held.release()
        assert site.lease() == taken
        assert first.store.read("current") == {"current": b"b"}
    # Without the lock nothing is fenced: a later operation of the same process may write.
    first.lock.acquire("deploy").release()


def test_the_heart_beats_on_while_the_store_is_away(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "HEARTBEAT_SECONDS", 0.01)
    monkeypatch.setattr(lease_module, "STEP_SECONDS", 0.01)
    roots, away = {"": str(site.root / "control")}, threading.Event()
    failed: list[int] = []

    def run(operations: list[dict[str, Any]]) -> list[Any]:
        if away.is_set():
            failed.append(1)
            raise DcopsError("DC-ENGINE-DOWN", "the daemon restarts")
        return control.apply(roots, operations)

    with Operator(site.root / "a", Store(run)).lock.acquire("deploy"):
        away.set()
        until(lambda: len(failed) > 2)
        os.utime(site.file, (1, 1))
        away.clear()
        until(lambda: site.file.stat().st_mtime > 1)


def test_a_heart_stops_with_its_lease(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "STEP_SECONDS", 0.01)
    monkeypatch.setattr(lease_module, "HEARTBEAT_SECONDS", 0.01)
    before = threading.active_count()
    held = site.operator("a").lock.acquire("deploy")
    assert threading.active_count() == before + 1
    site.file.unlink()
    until(lambda: threading.active_count() == before)
    assert not site.file.exists()
    held.release()
    assert not site.file.exists()


def test_where_there_is_no_store_the_flock_is_enough(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with site.operator("a").lock.acquire("deploy"):
        refused(site.operator("a").lock)
        assert not (tmp_path / "control").exists()
    assert not (tmp_path / "control").exists()


def test_a_lease_whose_answer_was_lost_is_still_ours(site: Site) -> None:
    """As when the connection breaks after the store has done it: the request is sent again."""
    roots = {"": str(site.root / "control")}

    def twice(operations: list[dict[str, Any]]) -> list[Any]:
        control.apply(roots, operations)
        return control.apply(roots, operations)

    operator = Operator(site.root / "a", Store(twice))
    with operator.lock.acquire("deploy"):
        operator.store.write({"current": b"x"})
    assert operator.said == []


def test_a_newer_lease_is_refused(site: Site) -> None:
    site.operator("a").lock.acquire("deploy").release()
    site.file.write_text('{"format": 9, "fence": 1, "what": 1}')
    with pytest.raises(PreconditionMissing) as caught:
        site.operator("b").lock.acquire("deploy")
    assert caught.value.code == "DC-STATE-NEWER"


def test_a_store_that_is_made_anew_does_not_begin_where_an_earlier_owner_is(tmp_path: Path) -> None:
    fences = set()
    for name in ("first", "second"):
        store = MemoryStore()
        lease = Lease(store, tmp_path, print)
        with EnvironmentLock(tmp_path / name / "lock", "dev", lease).acquire("deploy"):
            fences.add(json.loads(store.files[PATH])["fence"])
    assert len(fences) == 2


@pytest.mark.slow
def test_of_many_that_contend_one_at_a_time_works(site: Site) -> None:
    program = (
        "import sys; from pathlib import Path; sys.path.insert(0, '')\n"
        "from dcops.engines.store import LocalStore\n"
        "from dcops.records.lease import Lease\n"
        "from dcops.records.lock import EnvironmentLock\n"
        "root, name = Path(sys.argv[1]), sys.argv[2]\n"
        "for _ in range(5):\n"
        "    store = LocalStore(root / 'control', root / 'instances')\n"
        "    lease = Lease(store, root / name, print)\n"
        "    with EnvironmentLock(root / name / 'lock', 'dev', lease).acquire('count', wait=60):\n"
        "        n = int(store.read('n')['n'] or b'0')\n"
        "        store.write({'n': b'%d' % (n + 1)})\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", program, str(site.root), f"o{n}"]) for n in range(6)]
    assert [each.wait(120) for each in running] == [0] * 6
    assert (site.root / "control" / "n").read_bytes() == b"30"
