"""Is it the right release, in its right state, and closed to strangers? Reads only, and fast.

Its checks take no more than ``agent`` and ``target``, so that `probe` can run them without pytest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcops.core.toggles import digest
from dcops.verification.expectations import expect
from dcops.verification.reach import client_of

if TYPE_CHECKING:
    from dcops.client import Client
    from dcops.core.verification import Target


def test_healthz(agent: Client) -> None:
    expect("status of GET /healthz", expected=200, got=agent.request("GET", "/healthz").status)


def test_readyz(agent: Client) -> None:
    expect("GET /readyz (ready, reasons why not)", expected=(True, []), got=agent.ready())


def test_version(agent: Client, target: Target) -> None:
    expect("release in GET /version", expected=target.release, got=agent.version().get("release"))


def test_instance(agent: Client, target: Target) -> None:
    instance = agent.instance()
    expect("instance in GET /v1/instance", expected=target.instance, got=instance.get("instance"))
    expect("release in GET /v1/instance", expected=target.release, got=instance.get("release"))


def test_role(agent: Client, target: Target) -> None:
    if target.roles:
        got = agent.instance().get("role_acknowledged")
        expect("role_acknowledged in GET /v1/instance", expected=target.role, got=got)


def test_toggles(agent: Client, target: Target) -> None:
    expected = {"digest": digest(target.values), "error": None}
    toggles = agent.instance().get("toggles") or {}
    expect(
        "toggles in GET /v1/instance", expected=expected, got={name: toggles.get(name) for name in expected}
    )


def test_token_required(target: Target) -> None:
    status = client_of(target, token="").request("GET", "/v1/instance").status
    expect("status of GET /v1/instance without a token", expected=401, got=status)


def test_host_refused(target: Target) -> None:
    stranger = client_of(target, host="dcops-check.invalid")
    status = stranger.request("GET", "/v1/instance").status
    expect("status of GET /v1/instance for a host that it does not serve", expected=403, got=status)
