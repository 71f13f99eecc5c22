from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from dcops.errors import NotFound
from dcops.operations import status as module
from dcops.operations.status import status

if TYPE_CHECKING:
    from dcops.core.plan import Plan

    from .conftest import Site


def test_what_was_never_deployed_is_a_row_that_says_what_to_do(site: Site) -> None:
    (row,) = status(site.world)
    assert (row.name, row.state, row.instances) == ("dev", "absent", ())
    assert row.problems[0].do == "dcops deploy dev"


def test_a_broken_environment_is_a_row_and_hides_no_other(site: Site) -> None:
    other = site.root / "environments" / "broken"
    other.mkdir()
    (other / "environment.yaml").write_text("engine: [\n")
    (other / "toggles.yaml").write_text("")
    rows = {row.name: row for row in status(site.world)}
    assert rows["dev"].state == "absent"
    assert rows["broken"].state == "invalid"
    assert rows["broken"].problems[0].code == "DC-ENVIRONMENT-INVALID"


def test_an_unknown_name_is_not_found(site: Site) -> None:
    with pytest.raises(NotFound, match="staging"):
        status(site.world, "staging")


@pytest.mark.slow
def test_what_runs_and_what_has_drifted(site: Site) -> None:
    report = site.deploy()
    began = time.monotonic()
    (row,) = status(site.world, "dev")
    assert time.monotonic() - began < 2
    assert report.deployment is not None
    assert (row.state, row.engine, row.problems, row.drift) == ("running", "process", (), ())
    assert row.release == site.serves() == report.deployment.revision.release
    assert row.url == report.url
    assert [(each.id, each.role, each.turns) for each in row.instances if each.role == "serving"] == [
        (report.deployment.instance, "serving", 0)
    ]
    assert row.toggles.acknowledged >= row.toggles.generation
    assert row.to_json()["instances"][0].keys() >= {"id", "role", "release", "started"}

    site.toggles("polite: false\n")
    site.setting("drain: 2s", "drain: 3s")
    site.edit("# another release")
    (row,) = status(site.world)
    assert [(each.kind, each.name, each.file) for each in row.drift][:2] == [
        ("toggle", "polite", False),
        ("setting", "drain_timeout", 3.0),
    ]
    assert row.drift[-1].kind == "release"
    assert row.state == "running"


@pytest.mark.slow
def test_an_environment_that_is_down_says_so(site: Site) -> None:
    site.deploy()
    place = site.world.open("dev")
    place.engine.halt()
    (row,) = status(site.world)
    assert row.state == "down"
    assert row.problems[0].do == "dcops start dev"


@pytest.mark.slow
def test_an_operation_that_runs_is_told_and_one_that_was_cut_is_a_problem(site: Site) -> None:
    report = site.deploy()
    place = site.world.open("dev")
    place.journal.begin(cast("Plan", report.plan), [])
    place.journal.advance(start="verify")
    with place.lock.acquire("deploy") as lock:
        lock.step("verify")
        (row,) = status(site.world)
        assert row.operation is not None
        assert (row.operation["operation"], row.operation["step"]) == ("deploy", "verify")
        assert row.problems == ()
    (row,) = status(site.world)
    assert row.operation is None
    assert [each.code for each in row.problems] == ["DC-UNFINISHED"]
    assert "'verify'" in row.problems[0].what
    place.journal.end()


@pytest.mark.parametrize(
    ("reasons", "refused", "code", "told"),
    [
        ([], "max_tokens: -5 is too small", "DC-TOGGLES-REFUSED", "max_tokens: -5 is too small"),
        (["the disk is low", "draining"], None, "DC-NOT-READY", "not ready: the disk is low; draining"),
    ],
)
def test_what_the_instance_refuses_and_why_it_is_not_ready_are_problems(
    reasons: list[str], refused: str | None, code: str, told: str
) -> None:
    def client(_record: Any, *, timeout: float) -> Any:
        del timeout
        seen = {"toggles": {"generation": 3, "digest": "", "error": refused}}
        return SimpleNamespace(ready=lambda: (not reasons, reasons), instance=lambda: seen)

    current: Any = SimpleNamespace(
        serving="i1",
        record=object(),
        proxy=SimpleNamespace(running=True),
        runs=lambda _: True,
        deployment=None,
    )
    place: Any = SimpleNamespace(name="dev", client=client)
    state, problems, _ = module._health(place, current)
    assert state == "degraded"
    assert [(each.code, each.do) for each in problems] == [(code, "dcops logs dev")]
    assert told in problems[0].what


@pytest.mark.parametrize(
    ("recorded", "now", "lost"),
    [
        ("a", {"state": {"id": "b"}}, True),
        ("a", {"state": {"id": "a"}}, False),
        ("", {"state": {"id": "b"}}, False),
        ("a", {}, False),
    ],
)
def test_another_journal_than_at_the_deployment_is_lost_state(
    recorded: str, now: dict[str, Any], lost: bool
) -> None:
    current: Any = SimpleNamespace(deployment=SimpleNamespace(state=recorded))
    place: Any = SimpleNamespace(name="dev")
    assert [each.code for each in module._lost(place, current, now)] == (["DC-STATE-LOST"] if lost else [])


@pytest.mark.slow
def test_an_instance_that_has_read_no_toggles_yet_is_behind(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.deploy()
    starting = {"toggles": {"generation": None, "digest": None, "error": None}}
    monkeypatch.setattr("dcops.client.Client.instance", lambda _client: starting)
    (row,) = status(site.world, "dev")
    assert [(drift.kind, drift.do) for drift in row.drift] == [("acknowledged", "dcops restart dev")]
    assert row.toggles.acknowledged == 0
