"""Each fault of the fake is found by the check that is there for it: a check that cannot fail is none."""

from __future__ import annotations

from typing import Any

import pytest

from dcops.verification.probe import probe
from dcops.verification.runner import run_suites

TOGGLES = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"loud": {"type": "boolean", "default": False}},
}


def failed(report: Any) -> set[str]:
    assert report.incomplete == ""
    return {check.id for check in report.checks if check.outcome == "failed"}


@pytest.mark.slow
@pytest.mark.parametrize("roles", [False, True])
def test_a_fake_that_keeps_the_contract_passes(fake_agent: Any, roles: Any) -> None:
    twin = fake_agent(roles=roles, schema=TOGGLES)
    report = run_suites(twin.target, ["smoke", "contract"], handlers=twin)
    assert failed(report) == set()
    assert report.verdict == "pass"
    skipped = {check.id for check in report.checks if check.outcome == "skipped"}
    assert bool(skipped) is not roles


def test_suites_say_why_they_do_not_apply(fake_agent: Any) -> None:
    twin = fake_agent()
    report = run_suites(twin.target, ["streaming"], handlers=twin, only=["text_as_scripted"])
    assert [check.outcome for check in report.checks] == ["skipped"]
    assert report.checks[0].message == "there is no scripted model behind this instance"
    assert report.verdict == "inconclusive"


def test_no_sessions_is_a_reason_to_skip(fake_agent: Any, scripted_model: Any) -> None:
    twin = fake_agent()
    twin.model = scripted_model
    target = twin.target.from_json(twin.target.to_json() | {"has_model": True})
    report = run_suites(target, ["streaming"], handlers=twin, only=["two_calls"])
    assert [check.message for check in report.checks] == ["this implementation has no /v1/sessions"]


CONTRACT_FAULTS = {
    "missing_field": ("contract.instance_shape", "expected a field draining_done"),
    "wrong_type": ("contract.instance_shape", "expected running_turns to be a whole number, got 'none'"),
    "wrong_instance": ("contract.identity", "twin-1"),
    "wrong_release": ("contract.version_shape", "release in GET /version: expected 1111"),
    "guards_probes": ("contract.open_to_probes[/healthz]", "without a token: expected 200, got 401"),
    "any_token": ("contract.token_required[/version]", "with no token: expected 401, got 200"),
    "any_host": ("contract.host_refused", "expected 403, got 200"),
    "keeps_access": ("contract.token_added_and_removed", "added to access.json: expected 200"),
    "forgets_until": ("contract.token_ends", "ended an hour ago: expected 401"),
    "ignores_toggles": ("contract.toggles_acknowledged", "toggles in GET /v1/instance after a change"),
    "hides_errors": ("contract.bad_toggles_keep_the_last_good", "expected True within 5 s, got False"),
    "ignores_role": ("contract.role_acknowledged[warm]", "expected warm within 5 s, got twin"),
    "ignores_sigterm": ("contract.drains_on_sigterm", "expected within its stop timeout of 2 s"),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", CONTRACT_FAULTS)
def test_contract_finds(fake_agent: Any, fault: Any) -> None:
    check, words = CONTRACT_FAULTS[fault]
    twin = fake_agent(fault, roles=True, schema=TOGGLES, stop_seconds=2.0)
    report = run_suites(twin.target, ["contract"], handlers=twin, only=[check])
    assert failed(report) == {check}
    assert words in report.checks[0].message
    assert report.verdict == "fail"


SMOKE_FAULTS = {
    "sick": "smoke.healthz",
    "wrong_instance": "smoke.instance",
    "wrong_release": "smoke.version",
    "any_token": "smoke.token_required",
    "any_host": "smoke.host_refused",
}


@pytest.mark.parametrize("fault", SMOKE_FAULTS)
def test_probe_finds(fake_agent: Any, ready: Any, fault: Any) -> None:
    twin = fake_agent(fault, roles=True)
    ready(twin)
    assert SMOKE_FAULTS[fault] in failed(probe(twin.target))


def test_probe_finds_other_values_and_another_role(fake_agent: Any, ready: Any) -> None:
    twin = fake_agent(roles=True)
    ready(twin)
    other = twin.target.to_json() | {"role": "serving", "values": {"loud": True}}
    assert failed(probe(twin.target.from_json(other))) == {"smoke.role", "smoke.toggles"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "checks"),
    [
        ("takes_anything", {"toggles.wrong_digest_refused"}),
        ("ignores_toggles", {"toggles.flip[loud]"}),
    ],
)
def test_toggles_finds(fake_agent: Any, fault: Any, checks: Any) -> None:
    twin = fake_agent(fault, roles=True, schema=TOGGLES)
    report = run_suites(twin.target, ["toggles"], handlers=twin, only=[*checks])
    assert failed(report) == checks


def test_toggles_finds_a_default_that_its_schema_rules_out(fake_agent: Any) -> None:
    schema = {"properties": {"loud": {"type": "boolean", "default": "yes"}, "size": {"type": "integer"}}}
    twin = fake_agent(schema=schema, values={"loud": 3})
    report = run_suites(twin.target, ["toggles"], handlers=twin, only=["default", "values_given"])
    assert failed(report) == {"toggles.default[loud]", "toggles.default[size]", "toggles.values_given"}
