from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from dcops.engines.process import ProcessEngine
from dcops.errors import PreconditionMissing
from dcops.operations.backup import create_backup
from dcops.operations.lifecycle import down, restart
from dcops.operations.rollback import RollbackRequest, plan_rollback, rollback
from dcops.operations.toggles import set_toggle, unset_toggle

from .conftest import agree

if TYPE_CHECKING:
    from .conftest import Site

pytestmark = pytest.mark.slow


def test_a_backup_of_what_serves_restores_its_toggles_in_place(site: Site) -> None:
    site.deploy()
    backup = create_backup(site.world, "dev")
    set_toggle(site.world, "dev", "polite", "false")
    serving = site.look().serving
    rollback(site.world, RollbackRequest("dev", backup=backup.id), agree)
    assert site.look().serving == serving
    assert site.get()["greeting"] == "hello"
    assert rollback(site.world, RollbackRequest("dev", backup=backup.id), agree).result == "unchanged"


def test_a_warm_instance_learns_the_toggles_that_it_missed(site: Site) -> None:
    site.deploy()
    set_toggle(site.world, "dev", "polite", "false")
    backup = create_backup(site.world, "dev")
    unset_toggle(site.world, "dev", "polite")
    site.edit("X = 1")
    site.deploy(sets={"polite": "false"})
    report = rollback(site.world, RollbackRequest("dev", backup=backup.id), agree)
    assert report.plan is not None
    assert not report.plan.has("start")
    assert site.get()["greeting"] == "what?"


@pytest.mark.parametrize("kept", [True, False], ids=["files kept", "files gone"])
def test_a_release_whose_build_is_gone(site: Site, *, kept: bool) -> None:
    first = site.deploy()
    backup = create_backup(site.world, "dev")
    site.edit("X = 1")
    site.deploy()
    assert first.deployment is not None
    revision = first.deployment.revision
    engine = site.world.open("dev").engine
    engine.stop(site.look().with_role("warm")[0])
    engine.remove_build(revision.build)
    if not kept:
        shutil.rmtree(site.root / ".dcops" / "releases" / revision.release)
        with pytest.raises(PreconditionMissing) as caught:
            rollback(site.world, RollbackRequest("dev"), agree)
        assert caught.value.code == "DC-BUILD-PRUNED"
    request = RollbackRequest("dev") if kept else RollbackRequest("dev", backup=backup.id)
    rollback(site.world, request, agree)
    assert site.serves() == revision.release


def test_a_restart_of_a_release_whose_build_is_gone(site: Site) -> None:
    report = site.deploy()
    assert report.deployment is not None
    engine = site.world.open("dev").engine
    engine.remove_build(report.deployment.revision.build)
    restart(site.world, "dev", agree)
    assert engine.has_build(report.deployment.revision.build)


def test_a_backup_that_was_made_for_another_platform(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    first = site.deploy()
    backup = create_backup(site.world, "dev")
    down(site.world, "dev")
    site.edit("X = 1")
    platform = ProcessEngine.platform

    def newer(engine: ProcessEngine) -> object:
        found = platform(engine)
        return type(found)(found.python, found.machine, found.system, found.libc, "another base")

    monkeypatch.setattr(ProcessEngine, "platform", newer)
    site.deploy()
    rollback(site.world, RollbackRequest("dev", backup=backup.id), agree)
    assert first.deployment is not None
    assert site.serves() == first.deployment.revision.release


def test_latest_and_previous_are_of_this_environment(site: Site) -> None:
    first = site.deploy()
    backup = create_backup(site.world, "dev")
    site.edit("X = 1")
    shutil.copytree(site.root / "environments/dev", site.root / "environments/other")
    site.deploy(environment="other")
    others = create_backup(site.world, "other")
    site.edit("X = 2")
    site.deploy()
    with pytest.raises(PreconditionMissing) as caught:
        rollback(site.world, RollbackRequest("dev", backup=others.id), agree)
    assert caught.value.code == "DC-BACKUP-ENVIRONMENT"
    previous = plan_rollback(site.world, RollbackRequest("dev", backup="previous"))
    assert previous.source == f"backup:{backup.id}"
    assert rollback(site.world, RollbackRequest("dev", backup="latest"), agree).result == "deployed"
    assert first.deployment is not None
    assert site.serves() == first.deployment.revision.release
    down(site.world, "other", with_data=True)


def test_a_rollback_leaves_toggles_that_the_earlier_release_does_not_know(site: Site) -> None:
    first = site.deploy()
    schema = site.root / "little" / "toggles.schema.json"
    schema.write_text(
        schema.read_text().replace('"speed":', '"shout": {"type": "boolean", "default": false}, "speed":')
    )
    site.deploy()
    set_toggle(site.world, "dev", "shout", "true")
    rollback(site.world, RollbackRequest("dev"), agree)
    assert first.deployment is not None
    assert site.serves() == first.deployment.revision.release
    set_toggle(site.world, "dev", "polite", "false")
    assert site.get()["greeting"] == "what?"
    assert site.look().toggles.values == {"polite": False, "shout": True}


def test_toggles_flipped_since_are_kept_and_listed(site: Site) -> None:
    site.deploy()
    site.edit("X = 1")
    site.deploy(sets={"speed": "7"})
    set_toggle(site.world, "dev", "polite", "false")
    report = rollback(site.world, RollbackRequest("dev"), agree)
    assert report.plan is not None
    assert "toggle     polite: kept, it was flipped since" in report.plan.changes
    assert not any("speed: kept" in line for line in report.plan.changes)
    assert site.look().toggles.values == {"polite": False}
