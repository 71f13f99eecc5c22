from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from dcops.errors import DcopsError, NotFound, OperationFailed, PreconditionMissing, UsageError
from dcops.operations.backup import create_backup
from dcops.operations.deploy import DeployRequest, plan
from dcops.operations.lifecycle import down, restart, start, stop
from dcops.operations.resume import abort, resume
from dcops.operations.rollback import RollbackRequest, rollback
from dcops.operations.toggles import set_toggle
from dcops.operations.verify import VerifyRequest, verify

from .conftest import agree, break_step

if TYPE_CHECKING:
    from .conftest import Site

pytestmark = pytest.mark.slow


def test_what_was_stopped_starts_again_as_it_was(site: Site) -> None:
    site.deploy()
    serving = site.look().serving
    stop(site.world, "dev")
    assert not site.look().proxy.running
    start(site.world, "dev")
    assert site.look().serving == serving
    assert site.get("/v1/instance")["instance"] == serving
    assert [entry.kind for entry in site.look().entries] == ["deploy", "stop", "start"]


def test_verify_refuses_an_unknown_suite_before_anything_else(site: Site) -> None:
    with pytest.raises(UsageError, match="nope"):
        verify(site.world, VerifyRequest("nowhere", suites=("smoke", "nope")))


def test_verify_says_at_once_that_the_environment_is_down(site: Site) -> None:
    site.deploy()
    stop(site.world, "dev")
    with pytest.raises(PreconditionMissing) as caught:
        verify(site.world, VerifyRequest("dev"))
    assert (caught.value.code, caught.value.do) == ("DC-ENVIRONMENT-DOWN", "dcops start dev")


def test_a_deploy_starts_what_was_stopped(site: Site) -> None:
    site.deploy()
    stop(site.world, "dev")
    assert site.deploy().result == "deployed"
    assert site.get()["greeting"] == "hello"
    assert site.leftovers() == []


def test_a_backup_can_be_made_of_what_is_stopped(site: Site) -> None:
    report = site.deploy()
    stop(site.world, "dev")
    assert report.deployment is not None
    assert create_backup(site.world, "dev").release == report.deployment.revision.release


def test_a_restart_keeps_toggles_and_the_way_back(site: Site) -> None:
    first = site.deploy()
    site.edit("X = 1")
    site.deploy(sets={"speed": "7"})
    set_toggle(site.world, "dev", "polite", "false")
    assert restart(site.world, "dev", agree).result == "deployed"
    assert site.look().toggles.values == {"polite": False, "speed": 7}
    rollback(site.world, RollbackRequest("dev"), agree)
    assert first.deployment is not None
    assert site.serves() == first.deployment.revision.release
    assert site.look().toggles.values == {"polite": False}


def test_a_deploy_of_the_same_after_a_stop_keeps_the_way_back(site: Site) -> None:
    first = site.deploy()
    site.edit("X = 1")
    site.deploy()
    stop(site.world, "dev")
    site.deploy()
    rollback(site.world, RollbackRequest("dev"), agree)
    assert first.deployment is not None
    assert site.serves() == first.deployment.revision.release


def test_down_leaves_nothing_that_runs_and_the_next_deploy_begins_anew(site: Site) -> None:
    site.deploy()
    sockets = site.world.open("dev").engine._places.sockets  # type: ignore[attr-defined]
    down(site.world, "dev")
    assert not sockets.exists()
    assert plan(site.world, DeployRequest("dev")).current is None
    with pytest.raises(PreconditionMissing):
        stop(site.world, "dev")
    site.deploy()
    assert [entry.kind for entry in site.look().entries] == ["deploy"]


def test_nothing_that_serves_cannot_be_started_verified_or_rolled_back(site: Site) -> None:
    main = site.root / "little" / "__main__.py"
    text = main.read_text()
    main.write_text(text.replace("def main() -> None:", "def main() -> None:\n    raise SystemExit(3)\n"))
    with pytest.raises(DcopsError) as caught:
        site.deploy()
    assert caught.value.exit_code == 3
    for attempt in (
        lambda: start(site.world, "dev"),
        lambda: restart(site.world, "dev", agree),
        lambda: verify(site.world, VerifyRequest("dev")),
        lambda: rollback(site.world, RollbackRequest("dev"), agree),
        lambda: create_backup(site.world, "dev"),
    ):
        with pytest.raises(NotFound):
            attempt()
    assert set_toggle(site.world, "dev", "speed", "7").generation == 0
    main.write_text(text)
    site.deploy()
    assert site.look().toggles.values == {"polite": True, "speed": 7}


def test_a_start_brings_back_a_proxy_that_was_removed(site: Site) -> None:
    site.deploy()
    site.world.open("dev").engine._keeper.stop("_proxy", remove=True)  # type: ignore[attr-defined]
    start(site.world, "dev")
    assert site.get()["greeting"] == "hello"


def test_a_start_without_the_instance_says_to_deploy(site: Site) -> None:
    site.deploy()
    site.world.open("dev").engine.stop(site.look().serving)
    with pytest.raises(PreconditionMissing) as caught:
        start(site.world, "dev")
    assert (caught.value.code, caught.value.do) == ("DC-INSTANCE-GONE", "dcops deploy dev")
    site.deploy()
    assert site.get()["greeting"] == "hello"


def test_a_failure_that_takes_all_down_does_not_say_that_the_old_one_serves(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.deploy()
    site.edit("X = 1")

    def power_cut() -> None:
        kill_everything(site)
        raise RuntimeError("nothing answers")

    break_step(monkeypatch, "backup", power_cut, after=False)
    with pytest.raises(OperationFailed) as caught:
        site.deploy()
    assert "dev is down: dcops start dev" in caught.value.why
    start(site.world, "dev")
    assert site.get()["greeting"] == "hello"


def kill_everything(site: Site) -> None:
    """As a power cut: the keeper and, with it, all that it runs."""
    pid = int((site.root / ".dcops/dev/keeper/supervisord.pid").read_text())
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("step", ["start", "switch"])
def test_what_a_power_cut_interrupted_can_be_finished(
    site: Site, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    site.deploy()
    site.edit("X = 1")
    site.crash(monkeypatch, step, after=True)
    kill_everything(site)
    with pytest.raises(PreconditionMissing) as caught:
        resume(site.world, "dev")
    assert caught.value.code == "DC-ENVIRONMENT-DOWN"
    start(site.world, "dev")
    report = resume(site.world, "dev")
    assert report.plan is not None
    assert site.serves() == report.plan.revision.release


def test_a_first_deploy_that_a_power_cut_interrupted_can_be_finished(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.crash(monkeypatch, "start", after=True)
    kill_everything(site)
    assert resume(site.world, "dev").result == "deployed"
    assert site.get()["greeting"] == "hello"


def test_a_first_deploy_that_a_power_cut_interrupted_can_be_taken_back(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.crash(monkeypatch, "start", after=True)
    kill_everything(site)
    assert abort(site.world, "dev").result == "aborted"
    assert site.deploy().result == "deployed"


def test_data_that_down_has_kept_can_be_removed_later(site: Site) -> None:
    site.deploy()
    state = site.root / ".dcops" / "dev" / "state"
    down(site.world, "dev")
    assert state.is_dir()
    down(site.world, "dev", with_data=True)
    assert not state.exists()
    with pytest.raises(PreconditionMissing):
        down(site.world, "dev", with_data=True)


@pytest.mark.parametrize("step", ["halt", "record"])
@pytest.mark.parametrize("after", [False, True])
def test_a_stop_that_was_cut_short_is_finished_or_taken_back(
    site: Site, monkeypatch: pytest.MonkeyPatch, step: str, *, after: bool
) -> None:
    site.deploy()
    site.crash(monkeypatch, step, after=after, operation=lambda: stop(site.world, "dev"))
    recorded = step == "record" and after
    assert abort(site.world, "dev").result == ("done" if recorded else "aborted")
    assert site.look().proxy.running != recorded
    if not recorded:
        assert site.get()["greeting"] == "hello"
        site.crash(monkeypatch, step, after=after, operation=lambda: stop(site.world, "dev"))
        assert resume(site.world, "dev").result == "done"
    assert not site.look().proxy.running
    start(site.world, "dev")
    assert site.get()["greeting"] == "hello"
