from __future__ import annotations

from typing import Any

import pytest

from dcops.core.verification import SUITES
from dcops.verification.probe import probe
from dcops.verification.runner import run_suites


@pytest.mark.slow
@pytest.mark.parametrize("suite", SUITES)
def test_the_real_agent_passes(real_agent: Any, suite: Any) -> None:
    report = run_suites(real_agent.target, [suite], handlers=real_agent, time_limit=200)
    wrong = {check.id: check.message for check in report.checks if check.outcome != "passed"}
    assert wrong == {}
    assert report.incomplete == ""
    assert report.verdict == "pass"


def test_probe_passes_on_the_real_agent(real_agent: Any, ready: Any) -> None:
    ready(real_agent)
    report = probe(real_agent.target)
    assert report.verdict == "pass", [check.message for check in report.checks]
