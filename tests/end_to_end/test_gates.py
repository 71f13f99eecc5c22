"""By the command line: a release that users fare badly with goes back by itself, and can be looked at."""

from __future__ import annotations

import json
import subprocess
import threading
import urllib.request
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Sites
    from .site import Site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

GREETS = 'return self.answer(200, {"greeting"'


@pytest.fixture(scope="module")
def site(engine: str, sites: Sites) -> Iterator[Site]:
    bake = {"for": "4s", "minimum": 20}
    with sites(engine, little=True, verify={"suites": []}, timeouts={"drain": "2s"}, bake=bake) as site:
        yield site


@contextmanager
def users(site: Site) -> Iterator[None]:
    """Somebody who asks the agent twenty times a second."""
    over, place = threading.Event(), site.place
    request = urllib.request.Request(place.url, headers={"Authorization": f"Bearer {place.local.token()}"})

    def ask() -> None:
        while not over.wait(0.05):
            # A refusal is an answer, and so is nobody there while it is stopped.
            with suppress(OSError):
                urllib.request.urlopen(request, timeout=5).close()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def restart_policy(instance: str) -> str:
    found = ["docker", "ps", "--all", "--quiet", "--filter", f"label=dcops.instance={instance}"]
    container = subprocess.run(found, check=True, capture_output=True, text=True).stdout.strip()
    form = "{{.HostConfig.RestartPolicy.Name}}"
    shown = ["docker", "inspect", "--format", form, container]
    return subprocess.run(shown, check=True, capture_output=True, text=True).stdout.strip()


def test_a_release_that_users_fare_badly_with_goes_back_and_is_kept(site: Site) -> None:
    site.change("first")
    first = site.json("deploy", "dev")
    assert (first["bake"]["verdict"], len(first["warnings"])) == ("inconclusive", 1)
    module = site.agent / "__main__.py"
    good = module.read_text()
    module.write_text(good.replace(GREETS, GREETS.replace("200", "500")))
    with users(site):
        refused = site.json("deploy", "dev", code=3)
        assert (refused["code"], refused["cause"]) == ("DC-BAKE-FAILED", "bake")
        assert refused["bake"]["errors"] >= 20
        status = site.status()
        assert (status["release"], status["state"]) == (first["deployment"]["revision"]["release"], "running")
        kept = status["failed"]
        assert (kept["step"], kept["instance"] in json.dumps(status["instances"])) == ("bake", False)
        site.dcops("logs", "dev", "--candidate")
        if site.engine == "docker":
            assert restart_policy(kept["instance"]) == "no"
        site.dcops("stop", "dev")
    site.dcops("start", "dev")
    state = site.current().instances[kept["instance"]]
    assert state.status == "exited"
    module.write_text(f"{good}\n# second\n")
    with users(site):
        second = site.json("deploy", "dev")
    assert (second["bake"]["verdict"], second["bake"]["errors"], second["warnings"]) == ("pass", 0, [])
    assert (site.status()["failed"], kept["instance"] in site.current().instances) == (None, False)
