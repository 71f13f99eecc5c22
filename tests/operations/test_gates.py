"""What must hold before the switch: the candidate's own answers, and the suites' verdict."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from dcops.core.verification import CheckResult, report
from dcops.engines.process import ProcessEngine
from dcops.errors import OperationFailed
from dcops.operations.deploy import DeployRequest, deploy
from dcops.operations.lifecycle import restart, start, stop
from dcops.operations.resume import abort
from dcops.operations.status import status
from dcops.operations.steps import verify
from dcops.operations.toggles import set_toggle

from .conftest import CrashError, agree, break_step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dcops.core.verification import Target, VerificationReport
    from dcops.operations.deploy import DeployReport

    from .conftest import Site

pytestmark = pytest.mark.slow

BAD_TOGGLES = 'toggles["digest"]', '"another"'


@pytest.fixture
def quick(site: Site) -> Site:
    """Without suites."""
    site.setting("suites: [smoke]", "suites: []")
    return site


def spoil(site: Site, old: str, new: str) -> None:
    file = site.root / "little" / "__main__.py"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def mend(site: Site, old: str, new: str) -> None:
    spoil(site, new, old)


def refused(call: Callable[[], object]) -> OperationFailed:
    with pytest.raises(OperationFailed) as caught:
        call()
    return caught.value


def tokens(site: Site) -> list[str]:
    """Which instances the proxy and the gateway still let in."""
    store = site.world.open("dev").store
    listed = store.list("operator", "gateway/scripted", "gateway/api")
    return listed["operator"] + listed["gateway/scripted"] + listed["gateway/api"]


def test_a_candidate_is_probed_before_the_switch_and_kept_stopped(quick: Site) -> None:
    first = quick.deploy()
    assert first.plan is not None
    ids = [step.id for step in first.plan.steps]
    assert ids[ids.index("start") :][:3] == ["start", "probe", "switch"]
    known = tokens(quick)
    spoil(quick, *BAD_TOGGLES)
    error = refused(quick.deploy)
    assert (error.code, error.cause, error.exit_code) == ("DC-PROBE-FAILED", "probe", 3)
    assert "smoke.toggles" in error.why
    current = quick.look()
    failed = current.failed
    assert failed is not None
    assert (failed.step, current.instances[failed.instance].status) == ("probe", "exited")
    assert failed.probe["smoke.healthz"] == "passed"
    assert "digest" in failed.probe["smoke.toggles"]
    assert (tokens(quick), failed.instance in current.records) == (known, False)
    [row] = status(quick.world)
    assert row.failed is not None
    assert (row.failed["instance"], row.state) == (failed.instance, "running")
    assert failed.instance not in [each.id for each in row.instances]
    assert json.loads(json.dumps(row.to_json()))["failed"]["step"] == "probe"


def test_a_kept_candidate_starts_by_nothing_and_goes_with_the_next_deploy(quick: Site) -> None:
    quick.deploy()
    before = quick.look().digest
    spoil(quick, *BAD_TOGGLES)
    refused(quick.deploy)
    failed = quick.look().failed
    assert failed is not None
    assert quick.look().digest == before
    stop(quick.world, "dev")
    start(quick.world, "dev")
    set_toggle(quick.world, "dev", "polite", "false")
    restart(quick.world, "dev", agree)
    current = quick.look()
    assert (current.failed, current.runs(failed.instance)) == (failed, False)
    assert failed.instance in current.instances
    # Another one that fails takes its place.
    quick.edit("X = 1")
    refused(quick.deploy)
    current = quick.look()
    assert current.failed is not None
    second = current.failed.instance
    assert second != failed.instance
    assert failed.instance not in current.instances
    mend(quick, *BAD_TOGGLES)
    quick.deploy()
    current = quick.look()
    assert (current.failed, second in current.instances) == (None, False)


def test_one_that_never_got_ready_is_kept_with_its_last_lines(quick: Site) -> None:
    quick.deploy()
    with (quick.root / "little" / "__main__.py").open("r+") as file:
        text = file.read()
        file.seek(0)
        file.write(text.replace("main()\n", 'print("no luck today", flush=True)\nraise SystemExit(3)\n', -1))
    assert refused(quick.deploy).code == "DC-START-FAILED"
    failed = quick.look().failed
    assert failed is not None
    assert failed.step == "start"
    assert "no luck today" in failed.log
    assert not quick.look().runs(failed.instance)


def test_a_crash_keeps_nothing(quick: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    quick.deploy()
    quick.edit("X = 1")
    quick.crash(monkeypatch, "probe", after=True)
    abort(quick.world, "dev")
    assert quick.look().failed is None
    assert quick.leftovers() == []


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_while_it_is_put_away_keeps_nothing(
    quick: Site, monkeypatch: pytest.MonkeyPatch, *, after: bool
) -> None:
    quick.deploy()
    spoil(quick, *BAD_TOGGLES)
    stops = ProcessEngine.stop

    def die(engine: ProcessEngine, instance: str, *, remove: bool = True) -> None:
        if after or remove:
            stops(engine, instance, remove=remove)
        if not remove:
            raise CrashError

    monkeypatch.setattr(ProcessEngine, "stop", die)
    with pytest.raises(CrashError):
        quick.deploy()
    monkeypatch.undo()
    assert quick.look().failed is not None
    abort(quick.world, "dev")
    assert (quick.look().failed, quick.leftovers()) == (None, [])


def test_a_step_that_is_none_of_the_candidates_fault_keeps_nothing(
    quick: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick.deploy()
    quick.edit("X = 1")

    def fail() -> None:
        raise RuntimeError("on purpose")

    break_step(monkeypatch, "backup", fail, after=True)
    refused(quick.deploy)
    assert quick.look().failed is None


@pytest.fixture
def inconclusive(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Its suites' process crashes."""

    def run(target: Target, _suites: Sequence[str], **_more: Any) -> VerificationReport:
        passed = CheckResult("smoke.healthz", "smoke", "passed", 0.1)
        return report(target, [passed], seconds=0.1, incomplete="The suites' process ended (signal SIGSEGV).")

    monkeypatch.setattr(verify, "run_suites", run)
    return site


def asked(site: Site, answer: bool) -> tuple[list[str], Callable[[], DeployReport]]:
    questions: list[str] = []

    def ask(question: str) -> bool:
        questions.append(question)
        return answer

    return questions, lambda: deploy(replace(site.world, ask=ask), DeployRequest("dev"), agree)


def test_an_inconclusive_verification_fails_where_nobody_is_asked(inconclusive: Site) -> None:
    error = refused(inconclusive.deploy)
    assert (error.code, error.cause) == ("DC-VERIFY-INCONCLUSIVE", "verification")
    assert "SIGSEGV" in error.why
    assert error.detail["report"]["verdict"] == "inconclusive"
    [entry] = inconclusive.look().entries
    assert (entry.result, entry.data["verification"]["verdict"]) == ("failed", "inconclusive")


def test_somebody_may_go_on_and_the_verdict_stays(inconclusive: Site) -> None:
    questions, go = asked(inconclusive, answer=False)
    assert refused(go).code == "DC-VERIFY-INCONCLUSIVE"
    assert "Go on anyway?" in questions[0]
    done = asked(inconclusive, answer=True)[1]()
    said = done.to_json()["verification"]
    assert (said["verdict"], said["accepted"]) == ("inconclusive", True)
    assert inconclusive.look().entries[-1].data["verification"] == said


def test_a_failed_verification_asks_nobody(site: Site) -> None:
    checks = site.root / "environments" / "dev" / "checks"
    checks.mkdir()
    (checks / "test_own.py").write_text("def test_never():\n    assert False\n")
    questions, go = asked(site, answer=True)
    error = refused(go)
    assert (error.code, questions) == ("DC-VERIFY-FAILED", [])
    assert site.look().failed is not None
