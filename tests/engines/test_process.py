"""What only the process engine does: files, sockets, and its keeper's life."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dcops.core.protocols import ProxySpec
from dcops.engines.process import ProcessEngine
from dcops.errors import PreconditionMissing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dcops.engines.places import Places

    from .conftest import Rig

pytestmark = pytest.mark.parametrize("real", [pytest.param("process", marks=pytest.mark.slow)], indirect=True)


def command_of(pid: int) -> str:
    shown = subprocess.run(
        ["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return shown.stdout


def processes_of(rig: Rig) -> list[str]:
    """Command lines that name the project; an instance's own does not, so their pids are asked for."""
    shown = subprocess.run(["ps", "-ww", "-eo", "command="], capture_output=True, text=True, check=True)
    return [line for line in shown.stdout.splitlines() if str(rig.root) in line]


def places(rig: Rig, name: str = "dev") -> Places:
    engine = rig.engine(name)
    assert isinstance(engine, ProcessEngine)
    return engine._places


def mode(path: Path) -> str:
    return stat.filemode(path.lstat().st_mode)


@pytest.fixture
def rig(real: Rig) -> Iterator[Rig]:
    yield real
    for engine in real.engines:
        engine.remove(with_data=True)
    assert processes_of(real) == []


def keeper_pid(rig: Rig) -> int:
    return int((places(rig).root / "keeper" / "supervisord.pid").read_text())


def test_a_killed_keeper_takes_everything_with_it_and_revive_brings_it_back_once(rig: Rig) -> None:
    engine = rig.engine()
    site = rig.serve(engine, rig.spec("one"))
    before = site.get("/v1/instance")
    os.kill(keeper_pid(rig), signal.SIGKILL)
    rig.until(lambda: not command_of(before["pid"]).strip() or "defunct" in command_of(before["pid"]))
    rig.until(lambda: not site.answers("one"))
    assert not engine.proxy().running
    assert rig.status(engine, "one") == "exited"
    engine.revive(["one"])
    site.wait_for("one")
    assert site.get("/v1/instance")["pid"] != before["pid"]
    assert len([line for line in processes_of(rig) if "caddy run" in line]) == 1


def test_after_a_restart_of_the_machine_sockets_are_made_anew_and_the_pointer_holds(rig: Rig) -> None:
    engine = rig.engine()
    site = rig.serve(engine, rig.spec("one"), rig.spec("twin", "twin"))
    os.kill(keeper_pid(rig), signal.SIGKILL)
    rig.until(lambda: not site.answers("one"))
    shutil.rmtree(places(rig).sockets)
    rig.engine().revive(["one"])
    site.wait_for("one")
    assert site.get("/x")["instance"] == "one"


def test_a_keeper_whose_socket_was_deleted_is_replaced_not_doubled(rig: Rig) -> None:
    engine = rig.engine()
    site = rig.serve(engine, rig.spec("one"))
    before = keeper_pid(rig)
    shutil.rmtree(places(rig).sockets)
    assert not engine.proxy().running
    engine.revive(["one"])
    site.wait_for("one")
    assert keeper_pid(rig) != before
    assert len([line for line in processes_of(rig) if "supervisord" in line]) == 1
    assert len([line for line in processes_of(rig) if "caddy run" in line]) == 1


def test_a_keeper_killed_while_it_starts_an_instance_leaves_nobody_behind(rig: Rig) -> None:
    engine = rig.engine()
    rig.start(engine, rig.spec("one"))
    # No wait here: at this moment the instance may not have asked yet to end with its parent.
    os.kill(keeper_pid(rig), signal.SIGKILL)
    rig.until(lambda: rig.status(engine, "one") == "exited")
    with pytest.raises(PreconditionMissing) as caught:
        engine.kill("one")
    assert caught.value.code == "DC-ENVIRONMENT-DOWN"
    engine.stop("one")
    assert engine.instances() == []
    rig.until(lambda: processes_of(rig) == [])


def test_one_that_waits_before_its_next_attempt_is_started_at_once(rig: Rig) -> None:
    engine = rig.engine()
    rig.start(engine, rig.spec("bad", "candidate", TINY_EXIT="x"))
    rig.until(lambda: rig.status(engine, "bad") == "failed" and engine.instances()[0].restarts >= 2, 40)
    engine.revive(["bad"])
    assert engine.instances()[0].restarts == 0


def test_what_a_tool_made_unwritable_is_removed_too(rig: Rig) -> None:
    engine = rig.engine()
    rig.start(engine, rig.spec("twin", "twin"))
    closed = places(rig).private("twin") / "workspace" / "closed"
    (closed / "deep").mkdir(parents=True)
    (closed / "deep" / "file").write_text("")
    (closed / "deep").chmod(0o500)
    closed.chmod(0o500)
    engine.stop("twin")
    assert not places(rig).private("twin").exists()


def test_a_crash_of_the_proxy_is_repaired(rig: Rig) -> None:
    engine = rig.engine()
    site = rig.serve(engine, rig.spec("one"))
    engine.kill("_proxy")
    rig.until(lambda: not site.answers("one"))
    site.wait_for("one")


def test_secrets_tokens_and_programs_are_closed_to_others_control_files_are_not(rig: Rig) -> None:
    engine = rig.engine()
    rig.serve(engine, rig.spec("one"))
    engine.write_secret("api-key", b"sk")
    root, sockets = places(rig).root, places(rig).sockets
    for name in ("control", "control/operator/one", "secrets", "keeper", "keeper/programs", "proxy"):
        assert mode(root / name) == "drwx------"
    for directory in (sockets.parent, sockets, sockets / "one"):
        assert mode(directory) == "drwx------"
    closed = ("secrets/api-key", "control/current", "keeper/programs/one.json", "keeper/programs/one.conf")
    for name in closed:
        assert mode(root / name) == "-rw-------"
    assert mode(root / "instances" / "one") == "drwxr-xr-x"
    assert mode(root / "instances" / "one" / "role.json") == "-rw-r--r--"
    assert mode(sockets / "keeper.sock").endswith("------")


def test_remove_leaves_no_process_socket_or_directory(rig: Rig) -> None:
    engine = rig.engine()
    rig.serve(engine, rig.spec("one"), rig.spec("twin", "twin"))
    root, sockets = places(rig).root, places(rig).sockets
    assert len(processes_of(rig)) >= 2
    engine.remove(with_data=True)
    assert processes_of(rig) == []
    assert not root.exists()
    assert not sockets.parent.exists()


def test_stop_leaves_nothing_of_an_instance_but_a_log_where_it_had_real_state(rig: Rig) -> None:
    engine = rig.engine()
    rig.start(engine, rig.spec("one"), rig.spec("twin", "twin"))
    for each in ("one", "twin"):
        rig.until(lambda each=each: rig.status(engine, each) == "running")
        engine.stop(each)
    root = places(rig).root
    left = [path for path in root.rglob("*") if path.stem in ("one", "twin") and "control" not in path.parts]
    assert left == [root / "logs" / "instances" / "one.log"]
    assert list(places(rig).sockets.iterdir()) == [places(rig).sockets / "keeper.sock"]


def test_only_the_newest_logs_of_gone_instances_stay(rig: Rig) -> None:
    engine = rig.engine()
    engine.prepare()
    logs = places(rig).logs / "instances"
    for number in range(30):
        (logs / f"old{number}.log").write_text("")
        os.utime(logs / f"old{number}.log", (number, number))
    (logs / "old3.log.1").write_text("")
    rig.start(engine, rig.spec("one"))
    rig.until((logs / "one.log").exists)
    kept = {f"old{number}.log" for number in range(10, 30)}
    assert {each.name for each in logs.iterdir()} == kept | {"one.log"}


def test_a_file_in_the_workspace_does_not_stand_in_for_a_module(rig: Rig) -> None:
    engine = rig.engine()
    engine.prepare()
    (places(rig).root / "workspace" / "json.py").write_text("raise SystemExit('shadowed')")
    (places(rig).root / "workspace" / "tiny.py").write_text("raise SystemExit('shadowed')")
    rig.serve(engine, rig.spec("one"))


def test_builds_are_run_from_bytecode_and_vanish_with_their_dependencies(rig: Rig) -> None:
    engine, context = rig.engine(), rig.context("x = 1\n")
    engine.build(context, lambda _: None)
    build = places(rig).builds / context.build
    assert list((build / "tiny" / "__pycache__").glob("change.*.pyc"))
    assert {each.name for each in places(rig).builds.iterdir()} == {".lock", context.build}
    context.dependencies.rmdir()
    assert not engine.has_build(context.build)
    context.dependencies.mkdir()
    assert engine.has_build(context.build)


def test_an_instance_without_its_build_is_refused(rig: Rig) -> None:
    with pytest.raises(PreconditionMissing, match="build") as caught:
        rig.engine().start(rig.spec("one"))
    assert caught.value.code == "DC-BUILD-MISSING"


def test_sockets_stay_where_they_were_chosen(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = Path(f"/tmp/dcops-test-{os.getpid()}")
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    try:
        rig.engine().prepare()
        chosen = places(rig).sockets
        assert chosen.is_relative_to(runtime)
        monkeypatch.delenv("XDG_RUNTIME_DIR")
        assert places(rig).sockets == chosen
        assert places(rig, "other").sockets.is_relative_to("/tmp")
        deep = tmp_path / ("x" * 100)
        deep.mkdir()
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
        assert places(rig, "other").sockets.is_relative_to(f"/tmp/dcops-{os.getuid()}-{rig.project.id}")
    finally:
        shutil.rmtree(runtime)


@pytest.mark.parametrize("fault", ["link", "open", "file"])
def test_a_directory_for_sockets_that_others_could_reach_is_refused(
    rig: Rig, tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    above = places(rig).sockets.parent
    if fault == "link":
        above.symlink_to(tmp_path)
    elif fault == "open":
        above.mkdir()
        above.chmod(0o755)
    else:
        above.write_text("")
    try:
        with pytest.raises(PreconditionMissing) as caught:
            rig.engine().prepare()
        assert caught.value.code == "DC-SOCKETS-DIRECTORY"
        assert str(above) in caught.value.what + caught.value.why
    finally:
        above.rmdir() if fault == "open" else above.unlink()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a directory of somebody else")
def test_a_directory_for_sockets_of_somebody_else_is_refused(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    above = places(rig).sockets.parent
    above.mkdir(mode=0o700)
    os.chown(above, 65534, 65534)
    try:
        with pytest.raises(PreconditionMissing, match="only you can enter"):
            rig.engine().prepare()
    finally:
        above.rmdir()


@pytest.mark.parametrize(("name", "logs"), [("dev", "logs;old"), ("e" * 80, "logs")])
def test_a_path_that_the_keeper_cannot_cope_with_is_refused(rig: Rig, name: str, logs: str) -> None:
    engine = rig.engine(name, logs=Path(logs))
    with pytest.raises(PreconditionMissing) as caught:
        engine.check()
    assert caught.value.code == "DC-PATH-UNUSABLE"
    assert engine.findings()[0].status == "fail"


def test_findings_name_the_owner_of_a_port_that_is_wanted(rig: Rig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        engine = rig.engine(port=port)
        found = {each.check: each for each in engine.findings()}
        assert found["port"].status == "fail"
        assert f"pid {os.getpid()}" in found["port"].detail
    assert {each.check: each.status for each in engine.findings()} == {
        "process engine": "ok",
        "proxy": "ok",
        "port": "ok",
        "keeper": "ok",
        "disk": "ok",
    }


def test_a_proxy_that_cannot_start_says_why(rig: Rig) -> None:
    engine = rig.engine()
    engine.prepare()
    with pytest.raises(Exception, match="proxy does not start") as caught:
        engine.start_proxy(ProxySpec('{"apps": {"nonsense": {}}}', "127.0.0.1", 23456))
    assert "nonsense" in getattr(caught.value, "why", "")
