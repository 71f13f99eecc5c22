from __future__ import annotations

import json
import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from dcops.core.plan import Plan
from dcops.errors import (
    DcopsError,
    Interrupted,
    NotRestored,
    OperationFailed,
    PreconditionMissing,
    UsageError,
)
from dcops.operations.backup import create_backup, list_backups, show_backup
from dcops.operations.deploy import DeployRequest, deploy, plan
from dcops.operations.execute import CODE, StepCode
from dcops.operations.resume import abort, resume
from dcops.operations.rollback import RollbackRequest, rollback
from dcops.operations.toggles import set_toggle

from .conftest import agree, break_step

if TYPE_CHECKING:
    from dcops.operations.steps.run import Run

    from .conftest import Site

pytestmark = pytest.mark.slow

STEPS = ("start", "verify", "backup", "switch", "smoke", "record")


def fail() -> None:
    raise RuntimeError("on purpose")


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_the_first_deploy_serves_and_says_where(site: Site) -> None:
    report = site.deploy(reason="first")
    assert (report.result, report.deployment.number if report.deployment else 0) == ("deployed", 1)
    assert site.serves() == report.plan.revision.release if report.plan else False
    assert site.leftovers() == []
    assert json.loads(json.dumps(report.to_json()))["url"] == report.url


def test_deploying_what_serves_does_nothing(site: Site) -> None:
    site.deploy()
    assert site.deploy().result == "unchanged"
    assert len(site.look().entries) == 1


def test_a_changed_toggle_is_applied_without_a_new_instance(site: Site) -> None:
    first = site.deploy()
    site.toggles("polite: false\n")
    report = site.deploy()
    assert site.get()["greeting"] == "what?"
    assert [step.id for step in report.plan.steps] == ["toggles", "record"] if report.plan else False
    assert first.deployment is not None
    assert site.look().serving == first.deployment.instance


def test_a_changed_setting_is_shown_and_applied(site: Site) -> None:
    site.deploy()
    site.setting("model: scripted", "model: scripted\nvariables: {COLOUR: blue}")
    planned = plan(site.world, DeployRequest("dev"))
    assert any("COLOUR" in line for line in planned.changes)
    site.deploy()
    assert site.look().record.revision.configuration["variables"] == {"COLOUR": "blue"}  # type: ignore[union-attr]


def test_a_plan_is_data_and_goes_through_json(site: Site) -> None:
    site.deploy()
    site.edit("X = 1")
    planned = plan(site.world, DeployRequest("dev"))
    assert Plan.from_json(json.loads(json.dumps(planned.to_json()))) == planned


def test_a_saved_plan_is_refused_when_what_runs_has_moved(site: Site) -> None:
    site.deploy()
    site.edit("X = 1")
    saved = plan(site.world, DeployRequest("dev"))
    site.edit("X = 2")
    site.deploy()
    with pytest.raises(PreconditionMissing) as caught:
        site.deploy(plan=saved)
    assert caught.value.code == "DC-PLAN-STALE"


def test_a_saved_plan_is_refused_when_its_files_have_changed(site: Site) -> None:
    before = site.deploy()
    site.edit("X = 1")
    saved = plan(site.world, DeployRequest("dev"))
    site.edit("X = 2")
    with pytest.raises(PreconditionMissing) as caught:
        site.deploy(plan=saved)
    assert caught.value.code == "DC-FILES-CHANGED"
    assert before.plan is not None
    assert site.serves() == before.plan.revision.release


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS[:-1])
def test_a_failure_at_any_step_leaves_what_served(
    site: Site, monkeypatch: pytest.MonkeyPatch, step: str, *, after: bool
) -> None:
    first = site.deploy()
    site.edit("X = 1")
    break_step(monkeypatch, step, fail, after=after)
    with pytest.raises(OperationFailed) as caught:
        site.deploy()
    assert (caught.value.exit_code, caught.value.cause) == (3, step)
    assert first.deployment is not None
    assert site.serves() == first.deployment.revision.release
    assert site.look().unfinished is None
    assert site.leftovers() == []
    monkeypatch.undo()
    assert site.deploy().result == "deployed"


def test_a_failure_before_the_record_is_written_is_taken_back(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = site.deploy()
    site.edit("X = 1")
    break_step(monkeypatch, "record", fail, after=False)
    with pytest.raises(OperationFailed):
        site.deploy()
    assert first.deployment is not None
    assert site.serves() == first.deployment.revision.release


def test_a_failure_after_the_record_was_written_leaves_the_deployment(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.deploy()
    site.edit("X = 1")
    break_step(monkeypatch, "record", fail, after=True)
    report = site.deploy()
    assert report.deployment is not None
    assert site.serves() == report.deployment.revision.release
    assert [entry.result for entry in site.look().entries] == ["ok", "ok"]


def test_a_crash_after_the_record_was_written_is_finished_by_abort(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = site.deploy()
    site.edit("X = 1")
    site.crash(monkeypatch, "record", after=True)
    report = abort(site.world, "dev")
    assert report.deployment is not None
    assert site.serves() == report.deployment.revision.release
    rollback(site.world, RollbackRequest("dev"), agree)
    assert first.deployment is not None
    assert site.serves() == first.deployment.revision.release


@pytest.mark.parametrize("step", STEPS[:-1])
def test_ctrl_c_at_any_step_is_undone(site: Site, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    first = site.deploy()
    site.edit("X = 1")
    break_step(monkeypatch, step, interrupt, after=False)
    with pytest.raises(Interrupted) as caught:
        site.deploy()
    assert caught.value.exit_code == 130
    assert first.deployment is not None
    assert site.serves() == first.deployment.revision.release
    assert (site.look().unfinished, site.leftovers()) == (None, [])
    assert site.look().entries[-1].result == "interrupted"


def test_ctrl_c_while_the_record_is_written_does_not_tear_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.deploy()
    site.edit("X = 1")
    break_step(monkeypatch, "record", interrupt, after=False)
    assert site.deploy().result == "deployed"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_crash_is_said_and_can_be_finished(
    site: Site, monkeypatch: pytest.MonkeyPatch, step: str, *, after: bool
) -> None:
    site.deploy()
    site.edit("X = 1")
    site.crash(monkeypatch, step, after=after)
    with pytest.raises(PreconditionMissing) as caught:
        site.deploy()
    assert caught.value.code == "DC-UNFINISHED"
    now = site.look()
    assert now.unfinished is not None
    new = now.serving == now.unfinished.plan.candidate
    assert caught.value.why.startswith("the new instance serves" if new else "what served before serves")
    report = resume(site.world, "dev")
    assert report.plan is not None
    assert site.serves() == report.plan.revision.release
    assert [entry.result for entry in site.look().entries] == ["ok", "ok"]
    assert (site.look().unfinished, site.leftovers()) == (None, [])


def test_a_verification_that_was_cut_short_begins_anew(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.crash(monkeypatch, "verify", after=False)
    (twin,) = (name for name in site.look().instances if name.startswith("twin"))
    place = site.world.open("dev")
    place.store.write({f"instances/{twin}/toggles.json": b'{"generation": 9, "digest": "of a check"}'})
    assert resume(site.world, "dev").result == "deployed"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS[:-1])
def test_a_crash_can_be_taken_back(
    site: Site, monkeypatch: pytest.MonkeyPatch, step: str, *, after: bool
) -> None:
    first = site.deploy()
    site.edit("X = 1")
    site.crash(monkeypatch, step, after=after)
    assert abort(site.world, "dev").result == "aborted"
    assert first.deployment is not None
    assert site.serves() == first.deployment.revision.release
    assert (site.look().unfinished, site.leftovers()) == (None, [])
    with pytest.raises(PreconditionMissing):
        abort(site.world, "dev")


def test_what_cannot_be_put_back_says_so_and_abort_tries_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = site.deploy()
    site.edit("X = 1")
    code = CODE["switch"]

    def do(run: Run) -> None:
        code.do(run)
        raise RuntimeError("switched, then broken")

    def undo(_run: Run) -> None:
        raise OSError("disk full")

    monkeypatch.setitem(CODE, "switch", StepCode(do, undo))
    with pytest.raises(NotRestored) as caught:
        site.deploy()
    assert caught.value.exit_code == 4
    assert "disk full" in caught.value.why
    monkeypatch.undo()
    with pytest.raises(PreconditionMissing):
        resume(site.world, "dev")
    abort(site.world, "dev")
    assert first.deployment is not None
    assert site.serves() == first.deployment.revision.release


BROKEN = {
    "does not compile": ("def (", "build"),
    "does not import": ("import no_such_module", "start"),
    "exits at once": ("raise SystemExit(3)", "start"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_implementation_changes_nothing(site: Site, kind: str) -> None:
    first = site.deploy()
    text, cause = BROKEN[kind]
    main = site.root / "little" / "__main__.py"
    before, future, rest = main.read_text().partition("import annotations\n")
    main.write_text(f"{before}{future}{text}\n{rest}")
    with pytest.raises(OperationFailed) as caught:
        site.deploy()
    assert (caught.value.exit_code, caught.value.cause) == (3, cause)
    assert first.deployment is not None
    assert f"{first.deployment.revision.short} still serves" in caught.value.why
    assert site.serves() == first.deployment.revision.release
    assert site.leftovers() == []


def test_one_that_never_becomes_ready_shows_its_log_and_the_probe(site: Site) -> None:
    site.deploy()
    site.setting("ready: 10s", "ready: 2s")
    main = site.root / "little" / "__main__.py"
    text = main.read_text().replace('200, {"reasons": []}', '503, {"reasons": ["godot"]}')
    text = text.replace("def main() -> None:", 'def main() -> None:\n    print("waiting", flush=True)')
    main.write_text(text)
    with pytest.raises(OperationFailed) as caught:
        site.deploy()
    assert caught.value.cause == "start"
    assert "waiting" in "\n".join(caught.value.detail["log"])
    assert caught.value.detail["probe"] == "godot"


def test_a_failed_verification_keeps_what_serves(site: Site) -> None:
    first = site.deploy()
    main = site.root / "little" / "__main__.py"
    # The candidate itself would not have passed the probe before it.
    bad = '"release": "x" if INSTANCE.startswith("twin") else RELEASE, "implementation"'
    main.write_text(main.read_text().replace('"release": RELEASE, "implementation"', bad))
    with pytest.raises(OperationFailed) as caught:
        site.deploy()
    assert caught.value.cause == "verification"
    assert "--suite smoke" in caught.value.do
    assert first.deployment is not None
    assert site.serves() == first.deployment.revision.release


def test_a_second_deploy_is_told_who_holds_the_lock_and_where(site: Site) -> None:
    site.deploy()
    site.edit("X = 1")
    with site.world.open("dev").lock.acquire("deploy") as lock:
        lock.step("verify")
        with pytest.raises(PreconditionMissing) as caught:
            site.deploy()
    assert caught.value.code == "DC-LOCK-HELD"
    assert "at step 'verify'" in caught.value.why


def test_a_wrong_toggle_on_the_command_line_changes_nothing(site: Site) -> None:
    for sets in ({"speed": "11"}, {"sped": "3"}, {"polite": "maybe"}):
        with pytest.raises(UsageError):
            site.deploy(sets=sets)
    assert site.world.local("dev").choice() is None


def test_a_refused_confirmation_changes_nothing(site: Site) -> None:
    def refuse(_plan: Plan) -> None:
        raise PreconditionMissing("DC-CONFIRMATION", "no")

    with pytest.raises(DcopsError):
        deploy(site.world, DeployRequest("dev"), refuse)
    assert site.world.local("dev").choice() is None


def test_rollback_returns_to_the_warm_release_and_back_again(site: Site) -> None:
    first = site.deploy()
    site.edit("X = 1")
    second = site.deploy(sets={"speed": "7"})
    assert first.deployment is not None
    assert second.deployment is not None
    report = rollback(site.world, RollbackRequest("dev"), agree)
    assert report.plan is not None
    assert not report.plan.has("start")
    assert site.serves() == first.deployment.revision.release
    assert site.look().toggles.values == {"polite": True}
    assert "speed" not in (site.root / "environments/dev/toggles.yaml").read_text()
    with pytest.raises(DcopsError) as caught:
        rollback(site.world, RollbackRequest("dev"), agree)
    assert caught.value.exit_code == 7


def test_rollback_to_a_release_that_is_not_warm_starts_it_again(site: Site) -> None:
    first = site.deploy()
    site.edit("X = 1")
    site.deploy()
    warm = site.look().with_role("warm")
    site.world.open("dev").engine.stop(warm[0])
    report = rollback(site.world, RollbackRequest("dev"), agree)
    assert report.plan is not None
    assert report.plan.has("start")
    assert first.deployment is not None
    assert site.serves() == first.deployment.revision.release


def test_rollback_to_a_backup_backs_up_first_and_restores_toggles(site: Site) -> None:
    first = site.deploy()
    site.edit("X = 1")
    second = site.deploy(sets={"polite": "false"})
    report = rollback(site.world, RollbackRequest("dev", backup=second.backup), agree)
    assert first.deployment is not None
    assert site.serves() == first.deployment.revision.release
    assert site.get()["greeting"] == "hello"
    assert second.deployment is not None
    assert show_backup(site.world, report.backup).release == second.deployment.revision.release


def test_a_backup_of_what_serves_can_be_made_and_listed(site: Site) -> None:
    site.deploy()
    made = create_backup(site.world, "dev", reason="before lunch")
    assert [backup.id for backup in list_backups(site.world, "dev")] == [made.id]
    assert show_backup(site.world, "latest").reason == "before lunch"


def test_an_older_warm_instance_drains_and_is_swept(site: Site) -> None:
    for number in range(4):
        site.edit(f"X = {number}")
        site.deploy()
    assert len(site.look().with_role("warm")) == 1
    assert len(site.look().records) <= 4


def test_a_second_deploy_waits_for_the_first_when_told_to(site: Site) -> None:
    site.deploy()
    site.edit("X = 1")
    held = site.world.open("dev").lock.acquire("deploy")
    timer = threading.Timer(0.3, held.release)
    timer.start()
    assert site.deploy(lock_wait=30.0).result == "deployed"
    timer.join()


def test_going_back_to_a_backup_by_toggles_alone_backs_up_first(site: Site) -> None:
    site.deploy()
    made = create_backup(site.world, "dev")
    set_toggle(site.world, "dev", "speed", "7")
    report = rollback(site.world, RollbackRequest("dev", backup=made.id), agree)
    assert show_backup(site.world, report.backup).toggles == {"polite": True, "speed": 7}
    assert site.look().toggles.values == {"polite": True}


def test_the_files_cannot_change_the_engine_silently(site: Site) -> None:
    site.deploy()
    site.setting("engine: process", "engine: docker")
    with pytest.raises(PreconditionMissing) as caught:
        site.deploy()
    assert caught.value.code == "DC-ENGINE-DECIDED"
    assert "--engine docker" in caught.value.do
