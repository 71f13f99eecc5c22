from __future__ import annotations

import pytest

from dcops.core.verification import CheckResult, Target, report

TARGET = Target(
    url="http://127.0.0.1:1",
    token="the-token",
    instance="a-1",
    release="f" * 64,
    environment="dev",
    operator="0" * 64,
    hosts=("example.org",),
)


def check(name: str, outcome: str) -> CheckResult:
    return CheckResult(f"smoke.{name}", "smoke", outcome, 0.5, "said")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("outcomes", "incomplete", "verdict"),
    [
        (["passed"], "", "pass"),
        (["passed", "skipped"], "", "pass"),
        (["passed", "failed"], "", "fail"),
        (["failed", "error"], "", "fail"),
        (["passed", "error"], "", "inconclusive"),
        (["skipped"], "", "inconclusive"),
        ([], "", "inconclusive"),
        (["passed"], "it crashed", "inconclusive"),
        (["passed", "failed"], "it crashed", "fail"),
    ],
)
def test_only_a_complete_run_with_a_passed_check_and_no_other_passes(
    outcomes: list[str], incomplete: str, verdict: str
) -> None:
    checks = [check(str(number), outcome) for number, outcome in enumerate(outcomes)]
    assert report(TARGET, checks, seconds=1.0, incomplete=incomplete).verdict == verdict


def test_json_has_the_command_for_each_check_that_did_not_pass() -> None:
    document = report(TARGET, [check("a", "passed"), check("b[x]", "failed")], seconds=1.25).to_json()
    assert document["rerun"] == {"smoke.b[x]": "dcops verify dev --suite smoke --only 'b[x]'"}
    assert document["counts"] == {"passed": 1, "failed": 1, "skipped": 0, "error": 0}
    assert document["suites"][0]["checks"][1]["id"] == "smoke.b[x]"
    assert document["seconds"] == 1.25


def test_a_target_survives_json_and_hides_its_secrets() -> None:
    assert Target.from_json(TARGET.to_json()) == TARGET
    assert "the-token" not in repr(TARGET)
    assert "0" * 64 not in repr(TARGET)


def test_a_live_check_is_run_again_live() -> None:
    failed = CheckResult("live.turn", "live", "failed", 0.5, "said")
    assert report(TARGET, [failed], seconds=1.0).rerun(failed) == "dcops verify dev --live --only turn"
