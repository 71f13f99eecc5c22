"""The Docker daemon ends and comes back, and so does what served; on a daemon of the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dcops.operations.engine_choice import choose
from dcops.operations.steps.build import build, model_source

from ..engines.test_docker_restart import Dockerd, dockerd  # noqa: TID252 - tests have no package name
from .site import Site, until

if TYPE_CHECKING:
    from .conftest import Sites

__all__ = ["dockerd"]
pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.docker, pytest.mark.timeout(600)]
BACK_SECONDS = 10


def build_outside(site: Site) -> None:
    """Build before the first deploy: where that runs there is no way to a package index."""
    environment = site.world.environments.load("dev")
    place = site.world.place(environment, choose(site.world, environment, "docker"))
    for source in (site.agent, model_source()):
        build(place, source)


def sessions(site: Site) -> list[str]:
    return [each["id"] for each in site.json("sessions", "dev")["sessions"]]


def test_all_comes_back_with_the_daemon(dockerd: Dockerd, sites: Sites) -> None:
    with sites("docker", verify={"suites": ["smoke"]}) as site:
        build_outside(site)
        site.prefix = tuple(dockerd.inside())
        site.dcops("deploy", "dev")
        site.change("so that one is warm")
        site.dcops("deploy", "dev")
        site.dcops("chat", "dev", "run: echo before")
        before, [session] = site.current(), sessions(site)
        for end in (dockerd.stop, dockerd.lose_power):
            end()
            assert site.status()["state"] == "unreachable"
            dockerd.start()
            until(lambda: site.status()["state"] == "running", BACK_SECONDS, "it serves by itself")
            after = site.current()
            assert (after.serving, after.deployment) == (before.serving, before.deployment)
            assert session in sessions(site)
            said = site.dcops("chat", "dev", "run: echo again", "--session", session).stdout
            assert said.startswith("again\n")
            assert site.status()["problems"] == []
