"""Drift on Docker, made by the docker command behind dcops's back, and by losing what it counts on."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from .site import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Sites
    from .site import Site

pytestmark = [pytest.mark.slow, pytest.mark.docker, pytest.mark.usefixtures("docker_daemon")]


@pytest.fixture(scope="module")
def site(sites: Sites, docker_daemon: object) -> Iterator[Site]:
    del docker_daemon
    with sites("docker", verify={"suites": []}) as site:
        site.deploy()
        yield site


def docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def container(site: Site, name: str) -> str:
    return f"dcops-{site.world.project.slug}-dev-{name}"


def drifts(site: Site) -> list[tuple[str, str]]:
    return [(each["kind"], each["remedy"]) for each in site.status()["drift"]]


def answers(site: Site) -> bool:
    return bool(site.client.instance()["instance"] == site.current().serving)


def test_a_healthy_environment_has_no_drift(site: Site) -> None:
    assert drifts(site) == []
    assert site.json("doctor", "dev", "--repair") == {
        "schema": "dcops.doctor/1",
        "ok": True,
        "repairs": [{"environment": "dev", "mended": [], "left": []}],
    }


def test_a_restart_policy_is_put_back(site: Site) -> None:
    name = container(site, f"i-{site.current().serving}")
    docker("update", "--restart=no", name)
    assert drifts(site) == [("keeper", "derived")]
    site.dcops("doctor", "dev", "--repair")
    assert docker("inspect", "--format", "{{.HostConfig.RestartPolicy.Name}}", name) == "unless-stopped"
    assert drifts(site) == []


@pytest.mark.parametrize("command", [("kill",), ("rm", "-f")], ids=" ".join)
def test_a_proxy_that_was_killed_or_removed_comes_back(site: Site, command: tuple[str, ...]) -> None:
    pointer = site.current().pointer
    docker(*command, container(site, "proxy"))
    assert ("proxy", "derived") in drifts(site)
    site.dcops("doctor", "dev", "--repair")
    assert drifts(site) == []
    assert site.current().pointer == pointer
    assert answers(site)


def test_control_files_are_written_again(site: Site) -> None:
    serving = site.current().serving
    store = site.place.store
    store.write({f"instances/{serving}/{name}.json": None for name in ("role", "toggles", "access")})
    assert {kind for kind, _ in drifts(site)} >= {"role", "toggles", "access"}
    site.dcops("doctor", "dev", "--repair")
    assert drifts(site) == []
    assert answers(site)


def test_a_container_that_nobody_knows_is_asked_for(site: Site) -> None:
    known = container(site, f"i-{site.current().serving}")
    labels = docker("inspect", "--format", "{{range $k, $v := .Config.Labels}}{{$k}}={{$v}}\n{{end}}", known)
    named = dict(line.partition("=")[::2] for line in labels.splitlines() if line.startswith("dcops."))
    options = [f"--label={key}={value}" for key, value in (named | {"dcops.instance": "stray"}).items()]
    image = docker("inspect", "--format", "{{.Image}}", known)
    docker("run", "-d", "--name", container(site, "i-stray"), *options, "--entrypoint", "sleep", image, "600")
    assert drifts(site) == [("stray", "stops")]
    left = site.json("doctor", "dev", "--repair", code=5)["repairs"][0]["left"]
    assert [each["name"] for each in left] == ["stray"]
    assert "i-stray" in docker("ps", "--format", "{{.Names}}")
    site.dcops("doctor", "dev", "--repair", "--yes")
    assert "i-stray" not in docker("ps", "--all", "--format", "{{.Names}}")
    assert drifts(site) == []
    assert answers(site)


def test_an_instance_that_was_removed_is_replaced_by_the_command_that_is_named(site: Site) -> None:
    gone = site.current().serving
    docker("rm", "-f", container(site, f"i-{gone}"))
    report = site.json("doctor", "dev", "--repair", code=5)["repairs"][0]
    (left,) = [each for each in report["left"] if each["kind"] == "instance"]
    assert left["do"] == "dcops restart dev"
    site.dcops("restart", "dev")
    assert site.current().serving != gone
    until(lambda: answers(site), 10)
    assert site.json("doctor", "dev", "--repair")["ok"]
    assert gone not in site.current().records


def test_the_token_is_rotated_and_the_unit_is_not_needed(site: Site) -> None:
    old = site.place.local.token()
    report = site.json("token", "rotate", "dev", "--grace", "0")
    assert site.place.local.token() != old
    assert report["token_file"] == str(site.place.local.token_file)
    assert answers(site)
    assert site.json("service", "install", "dev")["result"] == "unneeded"
