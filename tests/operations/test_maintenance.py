"""Maintenance: users are told to come back, everything else goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dcops.errors import NotFound, PreconditionMissing
from dcops.operations.lifecycle import down, start, stop
from dcops.operations.maintenance import MaintenanceReport, set_maintenance
from dcops.operations.resume import abort, resume
from dcops.operations.rollback import RollbackRequest, rollback
from dcops.operations.sessions import list_sessions
from dcops.operations.status import status
from dcops.records.proxy import PATH

from .conftest import agree

if TYPE_CHECKING:
    from .conftest import Site

pytestmark = pytest.mark.slow


def turn(site: Site, seconds: int | None, reason: str = "") -> MaintenanceReport:
    return set_maintenance(site.world, "dev", seconds, reason=reason)


def shut(site: Site) -> str | None:
    """What users are told: seconds to wait; None when they are let in."""
    place = site.world.open("dev")
    answer = place.client().request("GET", "/")
    assert answer.status == (200 if "retry-after" not in answer.headers else 503)
    return answer.headers.get("retry-after")


def test_users_are_told_to_wait_until_it_is_turned_off(site: Site) -> None:
    site.deploy()
    report = turn(site, 90, "move of the disks")
    assert (report.result, report.changed, report.retry_after) == ("on", True, 90)
    assert shut(site) == "90"
    with pytest.raises(PreconditionMissing) as caught:
        list_sessions(site.world, "dev")
    assert caught.value.code == "DC-MAINTENANCE"
    (row,) = status(site.world, "dev")
    assert (row.state, row.maintenance) == ("running", 90)
    assert not turn(site, 90).changed
    assert turn(site, 30).changed
    assert shut(site) == "30"
    assert turn(site, None).result == "off"
    assert shut(site) is None
    assert not turn(site, None).changed
    entries = site.look().entries[1:]
    assert [(each.kind, each.result, each.data["maintenance"]["after"]) for each in entries] == [
        ("maintenance", "ok", 90),
        ("maintenance", "ok", 30),
        ("maintenance", "ok", None),
    ]
    assert entries[0].reason == "move of the disks"
    assert status(site.world, "dev")[0].maintenance is None


def test_it_outlives_deployments_rollbacks_and_stops(site: Site) -> None:
    first = site.deploy()
    turn(site, 90)
    site.edit("X = 1")
    second = site.deploy()
    assert second.result == "deployed"
    assert shut(site) == "90"
    rollback(site.world, RollbackRequest("dev"), agree)
    assert shut(site) == "90"
    stop(site.world, "dev")
    start(site.world, "dev")
    assert shut(site) == "90"
    stop(site.world, "dev")
    assert turn(site, None).changed
    start(site.world, "dev")
    assert shut(site) is None
    assert first.deployment is not None
    assert site.serves() == first.deployment.revision.release


@pytest.mark.parametrize("step", ["maintenance", "record"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_what_was_cut_short_is_finished_or_taken_back(
    site: Site, monkeypatch: pytest.MonkeyPatch, step: str, *, after: bool
) -> None:
    site.deploy()
    turn(site, 30)
    site.crash(monkeypatch, step, after=after, operation=lambda: turn(site, 90))
    recorded = step == "record" and after
    assert abort(site.world, "dev").result == ("done" if recorded else "aborted")
    assert shut(site) == ("90" if recorded else "30")
    if not recorded:
        site.crash(monkeypatch, step, after=after, operation=lambda: turn(site, None))
        assert resume(site.world, "dev").result == "done"
        assert shut(site) is None


def test_a_proxy_of_an_earlier_version_is_refused(site: Site) -> None:
    site.deploy()
    store = site.world.open("dev").store
    record = store.read(PATH)[PATH] or b""
    store.write({PATH: record.replace(b"/maintenance}", b"/else}")})
    with pytest.raises(PreconditionMissing) as caught:
        turn(site, 90)
    assert caught.value.code == "DC-PROXY-OLD"
    assert shut(site) is None


def test_nothing_that_serves_is_nothing_to_maintain(site: Site) -> None:
    with pytest.raises(PreconditionMissing) as caught:
        turn(site, 90)
    assert caught.value.code == "DC-NOT-DEPLOYED"
    site.deploy()
    turn(site, 90)
    down(site.world, "dev")
    site.deploy()
    assert shut(site) is None
    site.world.open("dev").store.write({"current": None})
    with pytest.raises(NotFound):
        turn(site, 90)
