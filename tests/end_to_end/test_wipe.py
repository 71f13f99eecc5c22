"""A tool removes everything that it can remove: only its own instance feels it."""

from __future__ import annotations

import json
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from .site import Site, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Sites

pytestmark = [pytest.mark.slow, pytest.mark.docker, pytest.mark.timeout(600)]
WIPE = "run: cd /; rm -rf --no-preserve-root $(ls -A / | grep -vE '^(proc|sys)$')"
LOST = 70


@pytest.fixture(scope="module")
def docker_site(sites: Sites, docker_daemon: object) -> Iterator[Site]:
    del docker_daemon
    with sites("docker", verify={"suites": ["smoke"]}) as site:
        site.deploy()
        yield site


def inspect(name: str) -> dict[str, Any]:
    done = subprocess.run(["docker", "inspect", name], check=True, capture_output=True, text=True)
    document: dict[str, Any] = json.loads(done.stdout)[0]
    return document


def deaths(name: str, since: float) -> list[tuple[float, int]]:
    """When a container ended, and with which exit code."""
    words = ["docker", "events", "--since", f"{since:.3f}", "--until", f"{time.time():.3f}"]
    words += ["--filter", f"container={name}", "--filter", "event=die", "--format", "{{json .}}"]
    lines = subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()
    events = [json.loads(line) for line in lines]
    return [(each["timeNano"] / 1e9, int(each["Actor"]["Attributes"]["exitCode"])) for each in events]


def control_files(site: Site, instances: list[str]) -> dict[str, bytes | None]:
    store = site.place.store
    names = store.list(*(f"instances/{instance}" for instance in instances))
    paths = [f"{directory}/{name}" for directory, found in names.items() for name in found]
    return store.read("current", "model", "records/history.jsonl", *paths)


def test_removing_all_that_a_tool_can_write_harms_only_its_instance(docker_site: Site) -> None:
    site = docker_site
    site.deploy("one beside it")
    client, before = site.client, site.current()
    prefix = f"dcops-{site.world.project.slug}-dev"
    untouched = [f"{prefix}-proxy", f"{prefix}-i-{before.model}"]
    lives = {name: inspect(name)["State"]["StartedAt"] for name in untouched}
    files = control_files(site, list(before.instances))
    assert len(files) > 2 * len(before.instances)
    state = client.instance()["state"]["id"]
    session = client.create_session()
    began = time.time()
    client.start_turn(session, WIPE)
    container = f"{prefix}-i-{before.serving}"
    until(lambda: deaths(container, began), 20, "the instance notices")
    [(at, code)] = deaths(container, began)
    assert code == LOST
    assert at - began < 5
    until(lambda: client.ready()[0], 20, "it serves again")
    assert client.instance()["instance"] == before.serving
    assert client.instance()["state"]["id"] != state
    assert client.sessions() == []
    assert {name: inspect(name)["State"]["StartedAt"] for name in untouched} == lives
    assert control_files(site, list(before.instances)) == files
    until(lambda: all(site.current().runs(name) for name in before.instances), 20, "the warm one is back")
    found = site.status()
    assert found["state"] == "degraded"
    assert [problem["code"] for problem in found["problems"]] == ["DC-STATE-LOST"]
    assert "hello-again\n" in site.dcops("chat", "dev", "run: echo hello-again").stdout
    site.deploy("after the loss")
    assert site.status()["problems"] == []
