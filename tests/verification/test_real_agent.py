from __future__ import annotations

import ast
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dcops.core.toggles import effective
from dcops.core.verification import SUITES
from dcops.verification.probe import probe
from dcops.verification.reach import client_of
from dcops.verification.runner import SUITES_DIRECTORY, run_suites

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "dcops/agent/toggles.schema.json").read_bytes())


@pytest.mark.slow
@pytest.mark.parametrize("suite", [suite for suite in SUITES if suite != "isolation"])
def test_the_real_agent_passes(real_agent: Any, suite: Any) -> None:
    report = run_suites(real_agent.target, [suite], handlers=real_agent, time_limit=200)
    wrong = {check.id: check.message for check in report.checks if check.outcome != "passed"}
    assert wrong == {}
    assert report.incomplete == ""
    assert report.verdict == "pass", [check for check in report.checks if check.outcome == "failed"]


@pytest.mark.slow
def test_the_agent_passes_also_where_its_environment_has_switched_it_off(
    start_twin: Any, scripted_model: Any
) -> None:
    """With the values as dcops delivers them: all of them."""
    values = effective({"take_turns": False, "use_response_chunking": False}, SCHEMA)
    twin = start_twin([sys.executable, "-m", "dcops.agent"], scripted_model, schema=SCHEMA, values=values)
    report = run_suites(twin.target, ["smoke", "toggles"], handlers=twin, time_limit=200)
    assert {check.id: check.message for check in report.checks if check.outcome != "passed"} == {}
    assert json.loads((twin.directory / "control/toggles.json").read_bytes())["values"] == values


@pytest.mark.slow
def test_isolation_is_not_checked_where_tools_run_as_the_user(real_agent: Any) -> None:
    report = run_suites(replace(real_agent.target, engine="process"), ["isolation"], handlers=real_agent)
    assert len(report.checks) == len(sentences())
    assert {check.outcome for check in report.checks} == {"skipped"}
    assert all("docs/security.md" in check.message for check in report.checks)
    assert report.verdict == "inconclusive"


def sentences() -> list[str]:
    """What the checks of the suite prove."""
    path = SUITES_DIRECTORY / "isolation.py"
    checks = [each for each in ast.parse(path.read_text()).body if isinstance(each, ast.FunctionDef)]
    return [ast.get_docstring(each) or each.name for each in checks if each.name.startswith("test_")]


def test_each_check_of_isolation_is_a_sentence_of_the_documentation() -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    section = page.partition("\n### What is checked\n")[2].partition("\n##")[0]
    written = [line.removeprefix("- ") for line in section.splitlines() if line.startswith("- ")]
    assert written == sentences()


def test_probe_passes_on_the_real_agent(real_agent: Any, ready: Any) -> None:
    ready(real_agent)
    report = probe(real_agent.target)
    assert report.verdict == "pass", [check.message for check in report.checks]


def test_live_is_one_small_turn_that_leaves_nothing_behind(real_agent: Any) -> None:
    target = replace(real_agent.target, live=True)
    report = run_suites(target, ["live"], handlers=real_agent)
    assert [(check.id, check.outcome) for check in report.checks] == [("live.turn", "passed")]
    assert client_of(target).sessions() == []


def test_live_is_skipped_unless_asked_for(real_agent: Any) -> None:
    report = run_suites(real_agent.target, ["live"], handlers=real_agent)
    assert [check.outcome for check in report.checks] == ["skipped"]


def test_probe_of_nothing_says_that_nothing_answers(real_agent: Any) -> None:
    report = probe(replace(real_agent.target, url="unix:/no/such/socket"))
    assert report.counts["failed"] == len(report.checks) > 0
    assert report.verdict == "fail"
    assert "does not answer" in report.checks[0].message


@pytest.mark.slow
def test_a_quick_run_restarts_nothing(real_agent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> float:
        raise AssertionError("restarted")

    monkeypatch.setattr(real_agent, "restart", refuse)
    monkeypatch.setattr(real_agent, "kill", refuse)
    target = replace(real_agent.target, restarts=False)
    report = run_suites(target, ["contract", "streaming"], handlers=real_agent)
    skipped = {check.id for check in report.checks if check.outcome == "skipped"}
    assert skipped == {
        "contract.drains_on_sigterm",
        "contract.comes_back_from_a_crash",
        "streaming.crash_closes_the_turn",
    }
    assert report.verdict == "pass", [check for check in report.checks if check.outcome == "failed"]
