"""The main job as a new user does it: deploy, talk, look, flip, change, take back."""

from __future__ import annotations

import shutil
import subprocess
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from .site import Site, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dcops.core.protocols import InstanceState

    from .conftest import Sites

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(600)]
COUNT = "run: for i in 1 2 3; do echo line $i; sleep 1; done"


@pytest.fixture(scope="module")
def served(engine: str, sites: Sites) -> Iterator[Site]:
    """Deployed by the command, with all suites."""
    with sites(engine) as site:
        report = site.json("deploy", "dev")
        assert report["result"] == "deployed"
        assert report["type"] == "result"
        yield site


def test_status_tells_what_serves(served: Site) -> None:
    found = served.status()
    assert (found["state"], found["engine"], found["drift"]) == ("running", served.engine, [])
    assert found["problems"] == []
    serving = [each for each in found["instances"] if each["role"] == "serving"]
    assert [each["release"] for each in serving] == [found["release"]]
    assert {"id", "role", "release", "started"} <= serving[0].keys()
    assert found["url"].startswith("http://127.0.0.1:")
    assert (served.root / found["token_file"]).stat().st_mode & 0o777 == 0o600
    toggles = found["toggles"]
    assert toggles["generation"] == toggles["acknowledged"] > 0
    assert toggles["digest"] == served.client.instance()["toggles"]["digest"]


def test_the_output_of_a_tool_arrives_line_by_line_through_a_pipe(served: Site) -> None:
    served.dcops("toggle", "set", "use_streaming_bash", "true", "--env", "dev")
    arrived: dict[str, float] = {}
    with subprocess.Popen(
        served.command("chat", "dev", COUNT),
        cwd=served.root,
        env=served.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as chat:
        assert chat.stdout is not None
        for line in chat.stdout:
            arrived[line.rstrip("\n")] = time.monotonic()
        assert chat.wait(timeout=30) == 0
    lines = [arrived[f"line {number}"] for number in (1, 2, 3)]
    gaps = [later - earlier for earlier, later in pairwise(lines)]
    assert all(0.5 < gap < 2 for gap in gaps), gaps
    assert list(arrived)[-1].startswith("`for i in"), "the answer comes after the tool's output"


def test_output_that_is_not_streamed_is_shown_when_the_tool_ends(served: Site) -> None:
    served.dcops("toggle", "set", "use_streaming_bash", "false", "--env", "dev")
    assert "whole\n" in served.dcops("chat", "dev", "run: echo whole").stdout


def test_verify_passes_and_leaves_what_serves_alone(served: Site) -> None:
    before = served.current()
    report = served.json("verify", "dev")
    assert report["verdict"] == "pass"
    assert {each["suite"] for each in report["suites"]} == {"smoke", "toggles", "streaming", "contract"}
    after = served.current()
    assert (after.serving, after.instances.keys()) == (before.serving, before.instances.keys())


def test_a_toggle_is_acknowledged_by_the_serving_instance(served: Site) -> None:
    before = served.current()
    budget = "4096" if before.toggles.values.get("thinking_budget") == 2048 else "2048"
    report = served.json("toggle", "set", "thinking_budget", budget, "--env", "dev", "--reason", "try")
    assert report["generation"] == before.toggles.generation + 1
    assert [each["instance"] for each in report["acknowledged"]] == [before.serving]
    assert report["acknowledged"][0]["milliseconds"] < 1000
    in_force = served.client.toggles()
    assert (in_force["generation"], in_force["values"]["thinking_budget"]) == (
        report["generation"],
        int(budget),
    )
    toggles = (served.root / "environments/dev/toggles.yaml").read_text()
    assert f"thinking_budget: {budget}" in toggles
    assert "# Of a test." in toggles


def test_a_changed_file_is_planned_deployed_and_taken_back(served: Site) -> None:
    first = served.client.version()["release"]
    served.change("changed")
    plan = served.json("plan", "dev")
    assert plan["changes"] is True
    assert served.dcops("plan", "dev", "--exit-code", code=8).stdout
    assert served.client.version()["release"] == first, "a plan only reads"
    report = served.json("deploy", "dev", "--reason", "try")
    second = served.client.version()["release"]
    assert second == report["deployment"]["revision"]["release"] == plan["plan"]["revision"]["release"]
    assert second != first
    back = served.json("rollback", "--env", "dev")
    assert back["plan"]["kind"] == "rollback"
    assert served.client.version()["release"] == first
    assert [each["id"] for each in back["plan"]["steps"]] == ["switch", "smoke", "record", "settle"]
    kinds = [each["kind"] for each in served.json("history", "dev")["entries"]]
    assert {"deploy", "rollback"} <= set(kinds)
    served.change("")


def test_deploying_what_serves_does_nothing(served: Site) -> None:
    served.dcops("deploy", "dev")
    before = served.current()
    assert served.json("deploy", "dev")["result"] == "unchanged"
    after = served.current()
    assert (after.serving, len(after.entries)) == (before.serving, len(before.entries))
    assert served.json("plan", "dev")["changes"] is False


def test_a_backup_is_rolled_back_to_byte_for_byte(served: Site) -> None:
    served.dcops("deploy", "dev")
    content = files(served.agent)
    first = served.client.version()["release"]
    toggles = served.client.toggles()["values"]
    backup = served.json("backup", "create", "dev", "--reason", "mine")["backup"]["id"]
    assert backup in served.dcops("backup", "list").stdout
    for text in ("second", "third"):
        served.change(text)
        served.json("deploy", "dev", "--set", "max_tokens=40000")
    forget(served, first)
    listed = {each["id"] for each in served.json("backup", "list")["backups"]}
    report = served.json("rollback", backup)
    assert served.client.version()["release"] == first
    assert served.client.toggles()["values"] == toggles
    assert report["backup"] not in listed, "what was there is backed up first"
    shown = served.json("backup", "show", report["backup"])["backup"]
    assert shown["release"] != first
    restored = served.root / ".dcops" / "releases" / first
    assert files(restored) == content
    served.change("")


def forget(served: Site, release: str) -> None:
    """Remove everything that a release could be started from again, but its backup."""
    until(lambda: all(state.release != release for state in running(served)), 60, "drained")
    place, current = served.place, served.current()
    for instance in current.instances.values():
        if instance.release == release:
            place.engine.stop(instance.id)
    builds = {
        each.deployment.revision.build
        for each in current.entries
        if each.deployment and each.deployment.revision.release == release
    }
    for build in builds:
        place.engine.remove_build(build)
        assert not place.engine.has_build(build)
    shutil.rmtree(served.root / ".dcops" / "releases" / release)


def running(served: Site) -> list[InstanceState]:
    return [state for state in served.current().instances.values() if state.status == "running"]


def files(directory: Path) -> dict[str, bytes]:
    """The files that belong to a release, by path."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
