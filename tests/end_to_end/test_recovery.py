"""Everything is killed, and comes back: same pointer, same sessions."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from .site import Site, texts, until
from .traffic import ends, transcript

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Sites

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(600)]
BACK_SECONDS = 10


@pytest.fixture(scope="module")
def process_site(sites: Sites) -> Iterator[Site]:
    with sites("process", verify={"suites": ["smoke"]}) as site:
        site.deploy()
        yield site


def kill_all(site: Site) -> None:
    """SIGKILL keeper, proxy, instances and their tools, in any order, until none is left."""

    def all_gone() -> bool:
        for pid in (found := site.processes()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not found

    until(all_gone, 10, "all killed")


def test_all_comes_back_with_start_after_everything_was_killed(process_site: Site) -> None:
    site = process_site
    site.deploy("one that is warm")
    client, before = site.client, site.current()
    session = client.create_session()
    site.dcops("chat", "dev", "run: echo before", "--session", session)
    told = transcript(client, session)
    turn = client.start_turn(session, "run: sleep 60")
    until(
        lambda: any(
            event.get("name") == "tool.started" for _, event in transcript(client, session)[len(told) :]
        )
    )
    kill_all(site)
    assert site.status()["state"] == "down"
    refused = site.dcops("chat", "dev", "hello", code=6)
    assert "dcops start" in refused.stderr
    began = time.monotonic()
    site.dcops("start", "dev")
    assert client.ready()[0]
    assert time.monotonic() - began < BACK_SECONDS
    after = site.current()
    assert after.serving == before.serving
    assert after.deployment == before.deployment
    assert session in {each["id"] for each in client.sessions()}
    until(lambda: client.session(session)["running"] is None, 15, "the turn of a dead instance is closed")
    again = transcript(client, session)
    assert again[: len(told)] == told
    assert ends(again[-1][1], turn)
    assert site.dcops("chat", "dev", "run: echo after", "--session", session).stdout.startswith("after\n")
    assert site.status()["problems"] == []
    site.deploy("after the crash")


def test_instances_end_with_their_keeper(process_site: Site) -> None:
    site = process_site
    [keeper] = [pid for pid, command in site.processes().items() if "supervisord" in command]
    os.kill(keeper, signal.SIGKILL)
    until(lambda: not site.processes(), 10, "nothing lives on")
    site.dcops("start", "dev")
    assert site.client.ready()[0]


def test_a_killed_instance_is_started_again(process_site: Site) -> None:
    site = process_site
    client, serving = site.client, site.current().serving
    site.place.engine.kill(serving)
    until(lambda: site.current().instances[serving].restarts == 1, BACK_SECONDS, "restarted")
    until(lambda: client.ready()[0], BACK_SECONDS, "ready")
    session = client.create_session()
    turn = client.start_turn(session, "hello")
    until(lambda: any(ends(event, turn) for _, event in transcript(client, session)), 10)
    assert texts([event for _, event in transcript(client, session)])


def test_a_stopped_environment_starts_again(process_site: Site) -> None:
    site = process_site
    sessions = {each["id"] for each in site.client.sessions()}
    site.dcops("stop", "dev")
    assert site.processes() == {}
    assert site.status()["state"] == "down"
    site.dcops("start", "dev")
    assert {each["id"] for each in site.client.sessions()} == sessions
