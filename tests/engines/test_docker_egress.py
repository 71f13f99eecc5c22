"""The egress container: who gets out of an instance, where to, and for how long the container is there."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from .test_docker_engine import context, spec, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from dcops.engines.docker import DockerEngine
    from dcops.engines.docker_daemon import Daemon

pytestmark = [pytest.mark.docker, pytest.mark.slow]

TOKENS = {"one": "1a" * 32, "two": "2b" * 32}
# A tool with an ordinary client, and what it is told.
FETCH = """
import http.client, os, sys, urllib.parse
way = urllib.parse.urlsplit(os.environ["HTTPS_PROXY"])
token = sys.argv[2] if len(sys.argv) > 2 else way.password
import base64
proof = base64.b64encode(f"dcops:{token}".encode()).decode()
host, _, port = sys.argv[1].partition(":")
connection = http.client.HTTPConnection(way.hostname, way.port, timeout=10)
connection.set_tunnel(host, int(port), {"Proxy-Authorization": f"Basic {proof}"})
try:
    connection.request("GET", "/")
    print(connection.getresponse().read().decode())
except OSError as error:
    print(error)
"""


@contextmanager
def outside(address: str) -> Iterator[str]:
    """A server on this machine, as any host outside."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"hello from outside")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((address, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"{address}:{server.server_port}"
        server.shutdown()


class Egress:
    """An engine with instances that have hosts to reach."""

    def __init__(self, engine: DockerEngine, daemon: Daemon, build: str) -> None:
        self.engine = engine
        self.daemon = daemon
        self.build = build
        self.prefix = f"dcops-{engine.project.slug}-dev"

    def start(self, name: str, *hosts: str) -> None:
        variables = {"DCOPS_INSTANCE": name, "ANTHROPIC_API_KEY": TOKENS[name]}
        changes: dict[str, Any] = {"variables": variables, "egress": hosts, "stop_seconds": 1}
        self.engine.store().write({f"egress/{TOKENS[name]}": "\n".join(hosts).encode()})
        self.engine.start(spec(name, self.build, role="candidate", **changes))

    def fetch(self, instance: str, target: str, *token: str) -> str:
        command = ["python3", "-c", FETCH, target, *token]
        answer = self.daemon.execute(f"{self.prefix}-i-{instance}", command)
        return (answer.output + answer.errors).decode().strip()

    @property
    def container(self) -> dict[str, Any] | None:
        return self.daemon.container(f"{self.prefix}-egress")

    @property
    def running(self) -> bool:
        found = self.container
        return found is not None and found["State"]["Status"] == "running"


@pytest.fixture
def egress(
    docker_engines: Callable[..., DockerEngine], docker_daemon: Daemon, tmp_path: Path
) -> Iterator[Egress]:
    engine = docker_engines()
    built = context(tmp_path)
    engine.build(built, lambda _: None)
    engine.prepare()
    yield Egress(engine, docker_daemon, built.build)
    engine.remove(with_data=True)


@pytest.fixture
def host(docker_daemon: Daemon) -> Iterator[str]:
    found = docker_daemon.network("bridge")
    assert found is not None
    with outside(found["IPAM"]["Config"][0]["Gateway"]) as address:
        yield address


def test_an_instance_reaches_its_hosts_and_no_others(egress: Egress, host: str) -> None:
    egress.start("one", host)
    egress.start("two", "example.com")
    until(lambda: egress.fetch("one", host) == "hello from outside")
    refused = "Tunnel connection failed: 403 Not listed under egress in environment.yaml"
    assert egress.fetch("one", "example.com:443") == refused
    assert egress.fetch("two", host) == refused
    assert "407" in egress.fetch("one", host, "0" * 64)
    direct = f"import socket; print(socket.create_connection({tuple(host.split(':'))!r}, 2))"
    answer = egress.daemon.execute(f"{egress.prefix}-i-one", ["python3", "-c", direct])
    assert b"TimeoutError" in answer.errors or b"unreachable" in answer.errors
    assert egress.daemon.execute(f"{egress.prefix}-i-two", ["getent", "hosts", "one"]).output == b""
    log = "\n".join(egress.daemon.logs(f"{egress.prefix}-egress", lines=100, follow=False))
    assert f"opened {host}" in log
    assert not any(token in log for token in TOKENS.values())


def test_it_holds_as_few_rights_as_it_can(egress: Egress) -> None:
    egress.start("one", "example.com")
    found = egress.container
    assert found is not None
    rights = found["HostConfig"]
    assert (rights["ReadonlyRootfs"], rights["CapDrop"], rights["Privileged"]) == (True, ["ALL"], False)
    assert "no-new-privileges" in rights["SecurityOpt"]
    assert (rights["Memory"], rights["PidsLimit"]) == (256 << 20, 64)
    assert rights["RestartPolicy"]["Name"] == "unless-stopped"
    assert not rights["PortBindings"]
    assert {mount["Destination"]: mount["RW"] for mount in found["Mounts"]} == {"/control": False}
    assert not any(token in json.dumps(found) for token in TOKENS.values())


def test_it_is_there_as_long_as_somebody_needs_it(egress: Egress, host: str) -> None:
    egress.engine.start(spec("plain", egress.build, role="candidate", stop_seconds=1))
    assert egress.container is None
    assert b"PROXY" not in egress.daemon.execute(f"{egress.prefix}-i-plain", ["env"]).output
    egress.start("one", host)
    egress.start("two", host)
    egress.engine.stop("one")
    egress.engine.stop("plain")
    assert egress.running
    assert until(lambda: egress.fetch("two", host) == "hello from outside")
    egress.engine.stop("two")
    egress.engine.stop("two")
    assert egress.container is None


def test_it_comes_back_with_the_instances(egress: Egress, host: str) -> None:
    egress.start("one", host)
    egress.engine.halt()
    assert not egress.running
    egress.engine.revive(["one"])
    until(lambda: egress.fetch("one", host) == "hello from outside")


def test_what_a_crash_has_left_is_mended_by_the_next_start(egress: Egress, host: str) -> None:
    egress.start("one", host)
    egress.daemon.remove(f"{egress.prefix}-egress")
    egress.start("two", host)
    until(lambda: egress.fetch("one", host) == "hello from outside")
    egress.daemon.disconnect(f"{egress.prefix}-egress", f"{egress.prefix}-i-two")
    egress.daemon.stop(f"{egress.prefix}-egress")
    egress.start("two", host)
    until(lambda: egress.fetch("two", host) == "hello from outside")


def test_one_of_another_version_is_replaced(
    egress: Egress, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("dcops.engines.docker_egress._COMMAND", ["sleep", "1000"])
        egress.start("one", host)
    before = egress.container
    egress.start("two", host)
    after = egress.container
    assert before is not None
    assert after is not None
    assert before["Id"] != after["Id"]
    until(lambda: egress.fetch("one", host) == "hello from outside")
