from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from dcops.errors import PreconditionMissing, UsageError
from dcops.operations.deploy import DeployRequest, deploy
from dcops.operations.lifecycle import start, stop
from dcops.operations.resume import abort, resume
from dcops.operations.rollback import RollbackRequest, rollback
from dcops.operations.toggles import apply_toggles, list_toggles, set_toggle, unset_toggle

from .conftest import agree

if TYPE_CHECKING:
    from dcops.core.plan import Plan

    from .conftest import Site

pytestmark = pytest.mark.slow


def file_of(site: Site) -> str:
    return (site.root / "environments/dev/toggles.yaml").read_text()


def test_a_toggle_is_set_acknowledged_and_written_down(site: Site) -> None:
    site.deploy()
    report = set_toggle(site.world, "dev", "polite", "false", reason="try")
    assert site.get()["greeting"] == "what?"
    assert [each.instance for each in report.acknowledged] == [site.look().serving]
    assert file_of(site) == "polite: false\n"
    assert unset_toggle(site.world, "dev", "polite").generation == report.generation + 1
    assert site.get()["greeting"] == "hello"
    assert [(entry.kind, entry.reason) for entry in site.look().entries[1:]] == [
        ("toggle", "try"),
        ("toggle", ""),
    ]


def test_a_wrong_value_changes_nothing(site: Site) -> None:
    site.deploy()
    before = site.look().toggles
    for name, text in (("speed", "11"), ("sped", "3"), ("polite", "maybe")):
        with pytest.raises(UsageError):
            set_toggle(site.world, "dev", name, text)
    assert site.look().toggles == before


def test_two_flips_at_once_are_both_kept(site: Site) -> None:
    site.deploy()
    with site.world.open("dev").lock.acquire("deploy"):
        flips = [
            threading.Thread(target=set_toggle, args=(site.world, "dev", name, text))
            for name, text in (("polite", "false"), ("speed", "7"))
        ]
        for flip in flips:
            flip.start()
        for flip in flips:
            flip.join(0.3)
    for flip in flips:
        flip.join()
    assert site.look().toggles.values == {"polite": False, "speed": 7}


def test_a_flip_during_a_deploy_is_not_undone_by_it(site: Site) -> None:
    site.deploy()
    site.edit("X = 1")
    asked: list[Plan] = []

    def flip_first(plan: Plan) -> None:
        if not asked:
            set_toggle(site.world, "dev", "speed", "7")
        asked.append(plan)

    deploy(site.world, DeployRequest("dev"), flip_first)
    assert site.look().toggles.values == {"polite": True, "speed": 7}
    assert "speed: 7" in file_of(site)


def test_a_flip_leaves_what_was_edited_by_hand(site: Site) -> None:
    site.deploy()
    site.toggles("polite: false  # not yet\n")
    set_toggle(site.world, "dev", "speed", "7")
    assert site.get()["greeting"] == "hello"
    assert file_of(site) == "polite: false  # not yet\nspeed: 7\n"
    assert [row.name for row in list_toggles(site.world, "dev") if row.drift is not None] == ["polite"]
    apply_toggles(site.world, "dev")
    assert site.get()["greeting"] == "what?"


def test_a_rollback_leaves_what_was_edited_by_hand(site: Site) -> None:
    site.deploy()
    site.edit("X = 1")
    site.deploy(sets={"speed": "7"})
    site.toggles("polite: false  # not yet\nspeed: 7\n")
    rollback(site.world, RollbackRequest("dev"), agree)
    assert file_of(site) == "polite: false  # not yet\n"


def test_a_flip_while_stopped_is_in_force_after_the_start(site: Site) -> None:
    site.deploy()
    stop(site.world, "dev")
    assert set_toggle(site.world, "dev", "polite", "false").acknowledged == ()
    start(site.world, "dev")
    assert site.get()["greeting"] == "what?"


@pytest.mark.parametrize("step", ["toggles", "record"])
@pytest.mark.parametrize("after", [False, True])
def test_a_flip_that_was_cut_short_is_finished_or_taken_back(
    site: Site, monkeypatch: pytest.MonkeyPatch, step: str, *, after: bool
) -> None:
    site.deploy()

    def flip() -> object:
        return set_toggle(site.world, "dev", "polite", "false")

    site.crash(monkeypatch, step, after=after, operation=flip)
    with pytest.raises(PreconditionMissing, match=r"toggles of dev, .* was interrupted"):
        set_toggle(site.world, "dev", "speed", "3")
    recorded = step == "record" and after
    assert abort(site.world, "dev").result == ("done" if recorded else "aborted")
    assert site.get()["greeting"] == ("what?" if recorded else "hello")
    if not recorded:
        site.crash(monkeypatch, step, after=after, operation=flip)
        assert resume(site.world, "dev").result == "done"
    assert site.get()["greeting"] == "what?"
    assert file_of(site) == "polite: false\n"
    entries = [entry.result for entry in site.look().entries if entry.kind == "toggle"]
    assert entries == (["ok"] if recorded else ["aborted", "ok"])


def test_a_value_that_ends_is_set_with_a_warning(site: Site) -> None:
    site.declare(voice={"type": "string", "default": "new", "x-retires": {"old": "2020-01-02"}})
    warning = "voice old was retired on 2020-01-02; choose another one: dcops toggle set voice VALUE"
    assert set_toggle(site.world, "dev", "voice", "old").warnings == (warning,)
    site.deploy()
    assert set_toggle(site.world, "dev", "speed", "7").warnings == ()
    assert set_toggle(site.world, "dev", "voice", "newer").warnings == ()
    assert set_toggle(site.world, "dev", "voice", "old").warnings == (warning,)
