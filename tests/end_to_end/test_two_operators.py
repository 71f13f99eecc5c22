"""Two operators of one project: two state directories, one Docker engine."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import threading
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

from dcops.core.chain import follow
from dcops.errors import LockLost
from dcops.operations.execute import CODE, StepCode
from dcops.records import history, lease
from dcops.records.access import sha256

from .site import Site, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from dcops.operations.steps.run import Run

pytestmark = [pytest.mark.slow, pytest.mark.docker]


@pytest.fixture(scope="module")
def pair(
    docker_daemon: object,  # noqa: ARG001 - skips where there is none
    sites: Callable[..., AbstractContextManager[Site]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Site, Site]]:
    """The one that deployed, and one that has the same files only."""
    shared = f"name: shared\nid: '{secrets.token_hex(4)}'\n"
    with sites("docker", tmp_path_factory.mktemp("first"), verify={"suites": []}) as first:
        second = Site(tmp_path_factory.mktemp("second"), "docker", first.settings)
        second.write()
        for site in (first, second):
            (site.root / "environments" / "project.yaml").write_text(shared)
            site.change("one")
        first.deploy()
        yield first, second


@pytest.fixture
def first(pair: tuple[Site, Site]) -> Site:
    return pair[0]


@pytest.fixture
def second(pair: tuple[Site, Site]) -> Site:
    return pair[1]


def test_who_never_deployed_sees_what_serves(first: Site, second: Site) -> None:
    mine, theirs = first.status(), second.status()
    assert (theirs["state"], theirs["why"]) == ("running", "found on docker")
    same = ("engine", "release", "url", "toggles", "drift", "instances")
    assert {name: theirs[name] for name in same} == {name: mine[name] for name in same}
    assert theirs["token_file"] != mine["token_file"]
    assert second.json("plan", "dev")["changes"] is False


def test_each_machine_has_a_token_that_is_let_in(first: Site, second: Site) -> None:
    assert first.place.token != second.place.token
    for site in (first, second):
        assert site.client.instance()["instance"] == first.current().serving
    assert "offline assistant" in second.dcops("chat", "dev", "hello").stdout
    assert second.dcops("logs", "dev").stdout
    assert len(first.place.access.tokens()) == 2


def test_a_token_that_was_ended_elsewhere_is_replaced(first: Site, second: Site) -> None:
    before = second.place.token
    own = sha256(first.place.token)
    first.place.access.end(1.0, lambda token: token.sha256 != own)
    first.place.access.spread()
    place = second.place
    assert place.token != before
    assert place.client().instance()["instance"] == first.current().serving
    assert second.place.local.token() == place.token


def test_a_toggle_that_the_second_flips_is_the_firsts_too(first: Site, second: Site) -> None:
    report = second.json("toggle", "set", "use_streaming_bash", "false", "--env", "dev")
    assert report["acknowledged"]
    assert first.status()["toggles"]["acknowledged"] == report["generation"]
    first.dcops("toggle", "set", "use_streaming_bash", "true", "--env", "dev")
    assert second.status()["toggles"]["acknowledged"] == report["generation"] + 1


def test_the_second_deploys_and_the_first_rolls_back(first: Site, second: Site) -> None:
    before = first.status()["release"]
    second.change("two")
    done = second.json("deploy", "dev")
    # The files of what the first has deployed came out of its build.
    assert done["backup"]
    assert first.status()["release"] == done["deployment"]["revision"]["release"] != before
    first.dcops("rollback", "--env", "dev")
    assert second.status()["release"] == before
    by = {entry["kind"] for entry in second.json("history", "dev")["entries"]}
    assert {"deploy", "rollback", "toggle"} <= by


def test_a_lock_of_the_one_is_told_to_the_other(first: Site, second: Site) -> None:
    with first.place.lock.acquire("deploy") as held:
        held.step("verify")
        until(lambda: (second.place.lock.holder() or {}).get("step") == "verify")
        for words in (("deploy", "dev"), ("rollback", "--env", "dev")):
            error = second.json(*words, code=6)
            assert error["code"] == "DC-LOCK-HELD"
            assert f"(pid {os.getpid()}) runs 'deploy', at step 'verify'" in error["why"]
        assert second.status()["operation"]["pid"] == os.getpid()
        threading.Timer(2.0, held.release).start()
        second.dcops("deploy", "dev", "--lock-wait", "60")
    first.rollback()


@pytest.mark.parametrize("verb", ["abort", "resume"])
def test_what_was_killed_on_one_machine_is_ended_on_the_other(first: Site, second: Site, verb: str) -> None:
    before = first.status()["release"]
    second.change(f"killed, then {verb}")
    running = subprocess.Popen(
        second.command("deploy", "dev"), cwd=second.root, env=second.environ, stderr=subprocess.PIPE
    )
    try:
        until(lambda: first.current().unfinished, 120)
    finally:
        running.kill()
        running.communicate()
    assert "DC-UNFINISHED" in {each["code"] for each in first.status()["problems"]}
    assert first.json("deploy", "dev", code=6)["code"] == "DC-UNFINISHED"
    # The refused deploy took the lease over already; what it left is what is ended now.
    first.dcops(verb, "dev")
    now = first.status()
    assert (now["release"] == before) is (verb == "abort")
    assert now["problems"] == []
    if verb == "resume":
        first.rollback()


def test_who_was_taken_for_dead_stops_and_undoes_nothing(
    first: Site, second: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, store = first.status()["release"], second.place.store
    code = CODE["start"]

    def taken_over(run: Run) -> None:
        code.do(run)
        fence = json.loads(store.read(lease.PATH)[lease.PATH] or b"")["fence"]
        store.write({lease.PATH: json.dumps({"format": 1, "fence": fence + 1}).encode()})

    monkeypatch.setitem(CODE, "start", StepCode(taken_over, code.undo))
    with pytest.raises(LockLost):
        first.deploy("taken over")
    monkeypatch.undo()
    left = second.current()
    assert left.unfinished is not None
    assert left.unfinished.plan.candidate in left.instances
    second.dcops("abort", "dev")
    after = second.current()
    assert left.unfinished.plan.candidate not in after.instances
    assert first.status()["release"] == before


def test_the_history_of_both_is_one_chain(first: Site, second: Site) -> None:
    content = first.place.store.read(history.PATH)[history.PATH] or b""
    found = follow(content)
    assert found.chained == found.entries > 5
    assert second.json("history", "dev", "--verify")["chain"] == asdict(found)
    assert second.json("history", "dev")["chain"] is None
    assert found.last in second.dcops("history", "dev", "--verify").stdout
    second.place.store.write({history.PATH: content.replace(b'"reason": ""', b'"reason": "x"', 1)})
    try:
        error = first.json("history", "dev", "--verify", code=5)
        assert (error["code"], error["line"]) == ("DC-HISTORY-BROKEN", 2)
    finally:
        second.place.store.write({history.PATH: content})
