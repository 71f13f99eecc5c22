"""What every implementation promises, whatever it is written in: the container contract."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from dcops.verification.expectations import eventually, expect
from dcops.verification.reach import client_of, wait_until_ready

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dcops.client import Client
    from dcops.core.verification import Target
    from dcops.verification.toggles import Toggles
    from dcops.verification.twin import Twin

NOTICE_SECONDS = 5.0
OTHER_TOKEN = "a-second-token-of-the-contract-suite"  # noqa: S105 - exists for the time of one check


def test_instance_shape(agent: Client) -> None:
    instance = agent.instance()
    _expect_fields(
        "GET /v1/instance",
        instance,
        {
            "instance": str,
            "release": str,
            "role": str,
            "role_acknowledged": str,
            "toggles": dict,
            "running_turns": int,
            "draining_done": bool,
        },
    )
    _expect_fields(
        "toggles in GET /v1/instance",
        instance["toggles"],
        {"generation": int, "digest": str, "error": (str, type(None))},
    )


def test_identity(agent: Client, target: Target) -> None:
    instance = agent.instance()
    got = {"instance": instance.get("instance"), "release": instance.get("release")}
    expected = {"instance": target.instance, "release": target.release}
    expect("GET /v1/instance", expected=expected, got=got)


def test_version_shape(agent: Client, target: Target) -> None:
    version = agent.version()
    _expect_fields("GET /version", version, {"release": str, "implementation": str})
    expect("release in GET /version", expected=target.release, got=version["release"])


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_open_to_probes(agent: Client, target: Target, path: str) -> None:
    del agent  # it has waited until the instance is ready
    status = client_of(target, token="").request("GET", path).status
    expect(f"status of GET {path} without a token", expected=200, got=status)


@pytest.mark.parametrize("path", ["/version", "/v1/instance"])
def test_token_required(agent: Client, target: Target, path: str) -> None:
    del agent
    for token, which in {"": "no token", "wrong": "a wrong token"}.items():
        status = client_of(target, token=token).request("GET", path).status
        expect(f"status of GET {path} with {which}", expected=401, got=status)


def test_host_refused(agent: Client, target: Target) -> None:
    del agent
    status = client_of(target, host="dcops-check.invalid").request("GET", "/v1/instance").status
    expect("status of GET /v1/instance for a host that it does not serve", expected=403, got=status)


@pytest.fixture
def access(agent: Client, twin: Twin, target: Target) -> Iterator[Callable[..., None]]:
    """Writes `access.json`: the suite's own token, and more; puts it back afterwards."""
    own = {"sha256": sha256(target.token.encode()).hexdigest(), "until": None}

    def write(*tokens: dict[str, Any], hosts: tuple[str, ...] = ()) -> None:
        document = {"tokens": [own, *tokens], "hosts": [*target.hosts, *hosts]}
        twin.write_control("access.json", json.dumps(document).encode())
        if not target.roles:
            twin.restart()
            wait_until_ready(agent, target.ready_seconds)

    yield write
    write()


def test_token_added_and_removed(access: Callable[..., None], target: Target) -> None:
    other = client_of(target, token=OTHER_TOKEN)
    added = {"sha256": sha256(OTHER_TOKEN.encode()).hexdigest(), "until": None}
    _expect_status("with a token that access.json does not name", other, 401)
    access(added)
    _expect_status("with a token that was added to access.json", other, 200)
    access()
    _expect_status("with a token that was removed from access.json", other, 401)


def test_token_ends(access: Callable[..., None], target: Target) -> None:
    other = client_of(target, token=OTHER_TOKEN)
    entry = {"sha256": sha256(OTHER_TOKEN.encode()).hexdigest()}
    hour = timedelta(hours=1)
    access({**entry, "until": (datetime.now(UTC) + hour).isoformat()})
    _expect_status("with a token that ends in an hour", other, 200)
    access({**entry, "until": (datetime.now(UTC) - hour).isoformat()})
    _expect_status("with a token that ended an hour ago", other, 401)


def test_host_added(access: Callable[..., None], target: Target) -> None:
    access(hosts=("dcops-check.invalid",))
    visitor = client_of(target, host="dcops-check.invalid")
    _expect_status("for a host that was added to access.json", visitor, 200)
    access()
    _expect_status("for a host that was removed from access.json", visitor, 403)


def test_toggles_acknowledged(toggles: Toggles) -> None:
    before = toggles.acknowledged()
    document = toggles.set()
    assert document["generation"] > before["generation"]
    name = min(toggles.declared)
    toggles.set(**{name: toggles.declared[name]["default"]})


def test_bad_toggles_keep_the_last_good(toggles: Toggles) -> None:
    if not toggles.live:
        pytest.skip("this implementation reads its toggles only at its start")
    good = toggles.set()
    toggles.write(b"{not json")
    subject = "whether GET /v1/instance tells an error after a broken toggles.json"
    eventually(subject, lambda: bool(toggles.acknowledged()["error"]), expected=True, seconds=NOTICE_SECONDS)
    expect(
        "generation in force after a broken toggles.json",
        expected=good["generation"],
        got=toggles.acknowledged()["generation"],
    )


@pytest.mark.parametrize("role", ["candidate", "serving", "warm"])
def test_role_acknowledged(agent: Client, twin: Twin, target: Target, role: str) -> None:
    if not target.roles:
        pytest.skip("this implementation knows no roles")
    try:
        _change_role(agent, twin, role)
    finally:
        _change_role(agent, twin, target.role)


@pytest.mark.usefixtures("restarts")
def test_drains_on_sigterm(agent: Client, twin: Twin, target: Target) -> None:
    seconds = twin.restart()
    assert seconds < target.stop_seconds, (
        f"end after SIGTERM: expected within its stop timeout of {target.stop_seconds:g} s, "
        f"got none for {seconds:.1f} s, so it was killed"
    )
    wait_until_ready(agent, target.ready_seconds)
    expect("release after a restart", expected=target.release, got=agent.version()["release"])


@pytest.mark.usefixtures("restarts")
def test_comes_back_from_a_crash(agent: Client, twin: Twin, target: Target) -> None:
    before = agent.instance()["toggles"]
    twin.kill()
    wait_until_ready(agent, target.ready_seconds)
    expect("toggles after a crash", expected=before, got=agent.instance()["toggles"])


def _change_role(agent: Client, twin: Twin, role: str) -> None:
    twin.write_control("role.json", json.dumps({"role": role, "for_seconds": 3600}).encode())
    eventually(
        f"role_acknowledged in GET /v1/instance after role.json says {role}",
        lambda: agent.instance()["role_acknowledged"],
        expected=role,
        seconds=NOTICE_SECONDS,
    )


def _expect_status(condition: str, client: Client, status: int) -> None:
    eventually(
        f"status of GET /v1/instance {condition}",
        lambda: client.request("GET", "/v1/instance").status,
        expected=status,
        seconds=NOTICE_SECONDS,
    )


_WORDS = {str: "a text", int: "a whole number", bool: "true or false", dict: "an object", type(None): "null"}


def _expect_fields(subject: str, document: dict[str, Any], fields: dict[str, Any]) -> None:
    for name, kind in fields.items():
        assert name in document, f"{subject}: expected a field {name}, got {sorted(document)}"
        value = document[name]
        # bool is an int to isinstance, and no number to anybody else.
        fits = isinstance(value, kind) and (kind is not int or type(value) is int)
        assert fits, f"{subject}: expected {name} to be {_name(kind)}, got {value!r}"


def _name(kind: Any) -> str:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join(_WORDS[each] for each in kinds)
