"""A change of the port, or of anything else that needs a new proxy."""

from __future__ import annotations

import json
import os
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from dcops.core.protocols import Https
from dcops.engines.ports import require_permitted
from dcops.errors import DcopsError, OperationFailed, PreconditionMissing
from dcops.operations.deploy import DeployRequest, plan
from dcops.operations.doctor import doctor
from dcops.operations.lifecycle import start, stop
from dcops.operations.resume import abort, resume
from dcops.operations.status import status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Site

pytestmark = pytest.mark.slow
NAME = "agent.example.test"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def free() -> int:
    return free_port()


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def test_another_port_serves_from_the_next_deploy_on(site: Site, free: int) -> None:
    site.deploy()
    site.setting("port: auto", f"port: {free}")
    before = site.get("/v1/instance")["instance"]
    planned = plan(site.world, DeployRequest("dev"))
    assert any(line.startswith("proxy") for line in planned.changes)
    assert site.deploy().url == f"http://127.0.0.1:{free}"
    assert site.get("/v1/instance")["instance"] == before


def test_a_port_that_is_taken_changes_nothing(site: Site, taken: int) -> None:
    url = site.deploy().url
    site.setting("port: auto", f"port: {taken}")
    with pytest.raises(OperationFailed) as caught:
        site.deploy()
    assert (caught.value.code, caught.value.exit_code) == ("DC-PORT-TAKEN", 3)
    assert site.world.open("dev").url == url
    assert site.get()["greeting"] == "hello"


def test_a_failure_after_the_proxy_changed_puts_the_earlier_one_back(site: Site, free: int) -> None:
    url = site.deploy().url
    site.setting("port: auto", f"port: {free}")
    main = site.root / "little" / "__main__.py"
    main.write_text(
        main.read_text().replace("def main() -> None:", "def main() -> None:\n    raise OSError\n")
    )
    with pytest.raises(DcopsError):
        site.deploy()
    assert site.world.open("dev").url == url
    assert site.get()["greeting"] == "hello"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_while_the_proxy_changes_can_be_finished(
    site: Site, monkeypatch: pytest.MonkeyPatch, free: int, *, after: bool
) -> None:
    site.deploy()
    site.setting("port: auto", f"port: {free}")
    site.crash(monkeypatch, "proxy", after=after)
    assert resume(site.world, "dev").url == f"http://127.0.0.1:{free}"
    assert site.get()["greeting"] == "hello"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_while_the_proxy_changes_can_be_taken_back(
    site: Site, monkeypatch: pytest.MonkeyPatch, free: int, *, after: bool
) -> None:
    url = site.deploy().url
    site.setting("port: auto", f"port: {free}")
    site.crash(monkeypatch, "proxy", after=after)
    assert abort(site.world, "dev").url == url
    assert site.get()["greeting"] == "hello"


def named(https: Https) -> str:
    """The lines of environment.yaml that ask for a domain."""
    rest = {name: getattr(https, name) for name in ("bind", "port", "redirect", "issuer")}
    return f"domain: {https.domain}\nhttps: {json.dumps(rest)}\nport: auto"


def internal(**changes: Any) -> Https:
    return Https(
        NAME, "127.0.0.1", **{"port": free_port(), "redirect": free_port(), **changes}, issuer="internal"
    )


def served_by(site: Site, port: int) -> bool:
    """Whether HTTPS is served there with a certificate of the proxy's own authority, for the domain."""
    root = site.root / ".dcops/dev/proxy/data/pki/authorities/local/root.crt"
    try:
        context = ssl.create_default_context(cafile=str(root))
        with (
            socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname=NAME) as secure,
        ):
            secure.sendall(f"GET /healthz HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n".encode())
            return secure.recv(15) == b"HTTP/1.1 200 OK"
    except OSError:
        return False


def test_a_domain_comes_with_a_deploy_and_goes_with_one(site: Site) -> None:
    url, https = site.deploy().url, internal()
    site.setting("port: auto", named(https))
    planned = plan(site.world, DeployRequest("dev"))
    assert [step.id for step in planned.steps if step.id in {"start", "switch"}] == ["start", "switch"]
    assert f"proxy      domain: (default) -> {NAME}" in planned.changes
    assert f"proxy      https.port: (default) -> {https.port}" in planned.changes
    assert status(site.world, "dev")[0].public_url == ""
    report = site.deploy()
    assert (report.url, report.public_url) == (url, https.url)
    assert served_by(site, https.port)
    assert status(site.world, "dev")[0].public_url == https.url
    stop(site.world, "dev")
    assert not served_by(site, https.port)
    start(site.world, "dev")
    assert served_by(site, https.port)
    site.setting(named(https), "port: auto")
    assert site.deploy().public_url == ""
    assert not served_by(site, https.port)


def test_a_taken_port_of_the_domain_changes_nothing(site: Site, taken: int) -> None:
    https = internal()
    site.setting("port: auto", named(https))
    site.deploy()
    for key in ("port", "redirect"):
        other = internal(**{key: taken})
        site.setting(named(https), named(other))
        with pytest.raises(OperationFailed) as caught:
            site.deploy()
        assert caught.value.code == "DC-PORT-TAKEN"
        assert f"pid {os.getpid()}" in caught.value.why
        assert served_by(site, https.port)
        assert site.world.open("dev").public_url == https.url
        site.setting(named(other), named(https))
    assert site.get()["greeting"] == "hello"


def test_a_failure_after_the_domain_came_takes_it_away_again(site: Site) -> None:
    site.deploy()
    https = internal()
    site.setting("port: auto", named(https))
    main = site.root / "little" / "__main__.py"
    main.write_text(
        main.read_text().replace("def main() -> None:", "def main() -> None:\n    raise OSError\n")
    )
    with pytest.raises(DcopsError):
        site.deploy()
    assert not served_by(site, https.port)
    assert site.get()["greeting"] == "hello"


def test_a_name_that_leads_nowhere_is_refused_before_anything_is_done(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lookup(*_arguments: object, **_named: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    site.setting("port: auto", named(Https(NAME, "127.0.0.1", free_port(), 0)))
    with pytest.raises(PreconditionMissing) as caught:
        site.deploy()
    assert (caught.value.code, caught.value.exit_code) == ("DC-DOMAIN-DNS", 6)
    assert site.events == []
    (row,) = [each for each in doctor(site.world, "dev") if each.check == "dev: domain"]
    assert (row.status, row.data["code"]) == ("fail", "DC-DOMAIN-DNS")


@pytest.mark.parametrize(("address", "found"), [("127.0.0.1", "ok"), ("192.0.2.7", "warn")])
def test_doctor_says_whether_the_name_leads_to_this_host(
    site: Site, monkeypatch: pytest.MonkeyPatch, address: str, found: str
) -> None:
    def lookup(*_arguments: object, **_named: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0))]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    site.setting("port: auto", named(Https(NAME)))
    (row,) = [each for each in doctor(site.world, "dev") if each.check == "dev: domain"]
    assert row.status == found
    assert address in row.detail


def test_a_port_that_this_user_may_not_use_is_refused_with_what_to_do() -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setuid(65534)
        try:
            require_permitted("127.0.0.1", 81)
        except PreconditionMissing as error:
            os.write(writer, f"{error.code} {error.do}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    said = os.read(reader, 1000).decode()
    assert said.startswith("DC-PORT-REFUSED")
    assert "net.ipv4.ip_unprivileged_port_start=81" in said


def test_each_setting_that_changes_is_a_line_of_the_plan(site: Site, free: int) -> None:
    site.deploy()
    site.setting("port: auto", f"port: {free}\nbind: 127.0.0.2\napi_url: https://api.example.test")
    site.setting("drain: 2s", "drain: 3s")
    site.setting(
        "model: scripted", "model: scripted\nlimits: {memory: 2G}\nvariables: {WORD: a}\negress: [a.test]"
    )
    changes = plan(site.world, DeployRequest("dev")).changes
    settings = {line.split()[1].rstrip(":"): line.split(None, 2)[2] for line in changes}
    assert settings["limits.memory"] == "1073741824 -> 2147483648"
    assert settings["variables.WORD"] == "(default) -> a"
    assert settings["egress"] == '[] -> ["a.test"]'
    assert settings["drain_timeout"] == "2.0 -> 3.0"
    assert settings["port"].endswith(f" -> {free}")
    assert settings["bind"] == "127.0.0.1 -> 127.0.0.2"
    assert settings["api_url"] == "https://api.anthropic.com -> https://api.example.test"
    assert "open streams are cut" in changes[-1]


def test_every_interface_is_served_and_spoken_to_on_loopback(site: Site) -> None:
    site.deploy()
    port = site.world.open("dev").choice.port
    site.setting("port: auto", "port: auto\nbind: 0.0.0.0")
    (row,) = status(site.world, "dev")
    assert (row.state, [each.name for each in row.drift]) == ("running", ["bind"])
    assert site.deploy().url == f"http://127.0.0.1:{port}"
    assert site.get()["greeting"] == "hello"


def test_a_plan_whose_proxy_is_no_longer_what_the_file_says_is_stale(site: Site, free: int) -> None:
    site.deploy()
    site.setting("port: auto", f"port: {free}")
    planned = plan(site.world, DeployRequest("dev"))
    site.setting(f"port: {free}", "port: auto\napi_url: https://api.example.test")
    with pytest.raises(OperationFailed) as caught:
        site.deploy(plan=planned)
    assert caught.value.code == "DC-PLAN-STALE"
    assert site.get()["greeting"] == "hello"
