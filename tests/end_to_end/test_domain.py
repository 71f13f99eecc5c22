"""HTTPS under a domain, and changes of the proxy under traffic, on both engines."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import ssl
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from dcops.errors import PreconditionMissing

from .site import texts, until
from .traffic import Traffic, transcript

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dcops.client import Client, Event

    from .conftest import Sites
    from .site import Site

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(600)]
DOMAIN = "agent.example.test"
STREAMS = 3
OUTAGE_SECONDS = 8.0  # of two shared processors: Docker starts a container meanwhile


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture(scope="module")
def site(engine: str, sites: Sites) -> Iterator[Site]:
    https = {"bind": "127.0.0.1", "port": free_port(), "redirect": free_port(), "issuer": "internal"}
    with sites(engine, domain=DOMAIN, https=https, verify={"suites": ["smoke"]}) as made:
        made.dcops("deploy", "dev")
        yield made


def settings(site: Site, **changes: Any) -> dict[str, Any]:
    """Change environment.yaml; returns all of it."""
    file = site.root / "environments" / "dev" / "environment.yaml"
    found: dict[str, Any] = yaml.safe_load(file.read_text()) | changes
    file.write_text(yaml.safe_dump(found))
    return found


def root_certificate(site: Site) -> str:
    """Of the proxy's own authority, from its storage."""
    path = "pki/authorities/local/root.crt"
    if site.engine == "process":
        return (site.root / ".dcops/dev/proxy/data" / path).read_text()
    proxy = f"dcops-{site.world.project.slug}-dev-proxy"
    command = ["docker", "exec", proxy, "cat", f"/data/{path}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@contextlib.contextmanager
def secure(site: Site) -> Iterator[http.client.HTTPConnection]:
    port = settings(site)["https"]["port"]
    context = ssl.create_default_context(cadata=root_certificate(site))
    plain = socket.create_connection(("127.0.0.1", port), timeout=40)
    connection = http.client.HTTPConnection(DOMAIN, port)
    connection.sock = context.wrap_socket(plain, server_hostname=DOMAIN)
    with contextlib.closing(connection):
        yield connection


def ask(site: Site, path: str) -> dict[str, Any]:
    with secure(site) as connection:
        connection.request("GET", path, headers={"Authorization": f"Bearer {site.place.token}"})
        answer = connection.getresponse()
        assert answer.status == 200
        found: dict[str, Any] = json.loads(answer.read())
        return found


def test_the_domain_is_served_beside_the_plain_listener(site: Site) -> None:
    https = settings(site)["https"]
    row = site.status()
    assert row["public_url"] == f"https://{DOMAIN}:{https['port']}"
    assert row["url"] == site.place.url
    assert ask(site, "/v1/instance")["instance"] == site.client.instance()["instance"]
    connection = http.client.HTTPConnection("127.0.0.1", https["redirect"], timeout=10)
    connection.request("GET", "/x?y=1", headers={"Host": DOMAIN})
    moved = connection.getresponse()
    assert (moved.status, moved.headers["Location"]) == (308, f"{row['public_url']}/x?y=1")
    assert f"URL    {row['public_url']}" in site.dcops("deploy", "dev").stdout


def test_a_turn_is_streamed_over_https_across_a_switch(site: Site) -> None:
    session = site.client.create_session()
    headers = {"Authorization": f"Bearer {site.place.token}", "Accept": "text/event-stream"}
    with secure(site) as connection:
        connection.request("GET", f"/v1/sessions/{session}/events", headers=headers)
        stream = connection.getresponse()
        site.client.start_turn(session, "run: for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.5; done")
        events = (json.loads(line[6:]) for line in stream if line.startswith(b"data: "))
        seen = [next(events)]
        site.deploy("switched")
        for event in events:
            seen.append(event)
            if event["type"] in {"RUN_FINISHED", "RUN_ERROR"}:
                break
    assert seen[-1]["type"] == "RUN_FINISHED"
    assert texts(seen)


def test_a_port_of_the_domain_that_is_taken_leaves_it_served(site: Site) -> None:
    before = settings(site)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings(site, https=before["https"] | {"port": port})
        answer = site.json("deploy", "dev", code=3)
    settings(site, https=before["https"])
    assert (answer["code"], answer["cause"]) == ("DC-PORT-TAKEN", "proxy")
    assert f"pid {os.getpid()} " in answer["owner"]
    assert answer["port"] == port
    assert ask(site, "/v1/instance")["instance"]


def follow(client: Client, session: str) -> list[tuple[int, Event]]:
    """Read a session as its users' programs do, to the end of its turn."""
    seen: list[tuple[int, Event]] = []
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        # While Docker changes the port's target, whatever else the machine has may answer.
        with contextlib.suppress(PreconditionMissing):
            for seq, event in client.events(session, seen[-1][0] if seen else 0):
                seen.append((seq, event))
                if event["type"] in {"RUN_FINISHED", "RUN_ERROR"}:
                    return seen
    return seen


def test_a_new_proxy_cuts_what_the_plan_says_and_keeps_its_certificates(site: Site) -> None:
    """Everybody comes back and has missed nothing; how long nobody is let in is what the assertion holds."""
    root, client = root_certificate(site), site.client
    sessions = [client.create_session() for _ in range(STREAMS)]
    settings(site, api_url="https://api.example.test")
    traffic = Traffic(site.place.url, site.place.token)
    with ThreadPoolExecutor(STREAMS) as pool:
        for session in sessions:
            client.start_turn(session, "run: for i in 1 2 3 4 5 6 7 8 9; do echo $i; sleep 1; done")
        read = [pool.submit(follow, client, session) for session in sessions]
        until(lambda: f"dcops_sse_clients {STREAMS}.0" in client.request("GET", "/metrics").body.decode())
        planned = site.json("plan", "dev")["plan"]
        with traffic.running():
            traffic.post(keep_alive=True)
            traffic.post(keep_alive=False)
            until(lambda: traffic.answered > 20)
            site.dcops("deploy", "dev")
            answered = traffic.answered
            until(lambda: traffic.answered > answered + 20)
        for session, seen in zip(sessions, read, strict=True):
            assert seen.result() == transcript(client, session)
    assert [step["id"] for step in planned["steps"]] == ["proxy", "smoke", "record"]
    assert planned["changes"][0].startswith("proxy      api_url: ")
    assert f"{STREAMS} open streams are cut; clients come back" in planned["changes"][1]
    times = [float(said.split()[0]) for said in traffic.failed]
    assert 0 < max(times) - min(times) < OUTAGE_SECONDS
    assert root_certificate(site) == root
    assert ask(site, "/v1/instance")["instance"]


def test_another_port_is_another_address(site: Site) -> None:
    """Who has the old address is not let in again; the sessions go on at the new one."""
    old, port = site.client, free_port()
    session = old.create_session()
    settings(site, port=port)
    planned = site.json("plan", "dev")["plan"]["changes"]
    assert planned[0].endswith(f" -> {port}")
    assert planned[1].endswith("clients must use the new address")
    assert site.json("deploy", "dev")["url"] == f"http://127.0.0.1:{port}"
    with pytest.raises(PreconditionMissing):
        old.session(session)
    assert site.client.session(session)["id"] == session
    assert ask(site, "/v1/instance")["instance"]
