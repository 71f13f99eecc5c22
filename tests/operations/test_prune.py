from __future__ import annotations

import os
import shutil
import signal
from typing import TYPE_CHECKING

import pytest

from dcops.operations.resume import resume
from dcops.operations.rollback import RollbackRequest, rollback
from dcops.operations.steps.prune import pinned

from .conftest import agree, break_step

if TYPE_CHECKING:
    from .conftest import Site

pytestmark = pytest.mark.slow


def releases(site: Site) -> set[str]:
    return {each.name for each in (site.root / ".dcops" / "releases").glob("[!.]*")}


def builds(site: Site) -> set[str]:
    return set(site.world.open("dev").engine.builds())


def forget_backups(site: Site) -> None:
    shutil.rmtree(site.root / "backups", ignore_errors=True)


def quick(site: Site, keep: int = 1) -> None:
    site.setting("verify: {suites: [smoke]}", f"verify: {{suites: []}}\nkeep: {keep}")


def release(site: Site, number: int) -> str:
    site.edit(f"X = {number}")
    report = site.deploy()
    assert report.deployment is not None
    return report.deployment.revision.release


def said(site: Site) -> list[str]:
    return [each.text for each in site.events if each.step == "prune" and each.state == "note"]


def end_warm(site: Site) -> None:
    place, current = site.world.open("dev"), site.look()
    for name in current.with_role("warm") + current.with_role("draining"):
        place.engine.stop(name)
        place.store.write(current.records[name].removal())


def test_what_nothing_needs_goes_and_all_else_stays(site: Site) -> None:
    quick(site)
    made = [release(site, number) for number in range(3)]
    assert set(made) <= releases(site)  # a backup of each is there
    forget_backups(site)
    made.append(release(site, 3))
    # The last deployment, the one before it, and what stays warm.
    assert not {made[0]} & releases(site)
    assert {made[2], made[3]} <= releases(site)
    before = builds(site)
    assert said(site)[-1] in {"removed 1 release and 1 build", "removed 2 releases and 2 builds"}
    end_warm(site)
    forget_backups(site)
    made.append(release(site, 4))
    assert {made[3], made[4]} <= releases(site)
    assert made[2] not in releases(site)
    assert len(builds(site)) <= len(before)
    model = site.look().records[site.look().model].revision
    assert model.release in releases(site)
    assert model.build in builds(site)
    rollback(site.world, RollbackRequest("dev"), agree)
    assert site.serves() == made[3]


def test_a_backup_and_a_deploy_under_way_keep_their_release(site: Site) -> None:
    quick(site)
    first, second = release(site, 1), release(site, 2)
    end_warm(site)
    third = release(site, 3)  # with a backup of the first and the second
    end_warm(site)
    release(site, 4)
    assert {first, second, third} <= releases(site)
    pinned_one = site.look().records[site.look().serving].revision
    forget_backups(site)
    with pinned(site.world.open("dev"), pinned_one.__class__(**{**pinned_one.to_json(), "release": first})):
        release(site, 5)
    assert first in releases(site)
    assert second not in releases(site)


def test_another_environment_keeps_what_it_needs(site: Site) -> None:
    quick(site)
    other = site.root / "environments" / "other"
    shutil.copytree(site.root / "environments" / "dev", other)
    text = (other / "environment.yaml").read_text().replace(".dcops/dev/logs", ".dcops/other/logs")
    (other / "environment.yaml").write_text(text)
    site.edit("X = 1")
    held = site.deploy(environment="other").deployment
    assert held is not None
    try:
        for number in range(2, 5):
            release(site, number)
            end_warm(site)
        forget_backups(site)
        release(site, 5)
        assert held.revision.release in releases(site)
        assert held.revision.build in builds(site)
        (other / "environment.yaml").write_text("engine: [")
        before = releases(site)
        latest = release(site, 6)
        assert releases(site) == before | {latest}
        assert said(site)[-1].startswith("nothing is removed: ")
        (other / "environment.yaml").write_text(text)
    finally:
        from dcops.operations.lifecycle import down

        down(site.world, "other", with_data=True)


def test_a_prune_that_was_cut_short_is_finished(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(site)
    first = release(site, 1)
    release(site, 2)
    end_warm(site)
    release(site, 3)
    end_warm(site)
    forget_backups(site)
    site.edit("X = 4")
    break_step(monkeypatch, "prune", lambda: os.kill(os.getpid(), signal.SIGKILL), after=False)
    child = os.fork()
    if child == 0:
        site.deploy()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    monkeypatch.undo()
    forget_backups(site)
    assert resume(site.world, "dev").result == "deployed"
    assert first not in releases(site)
