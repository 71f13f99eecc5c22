"""Maintenance by the command line, on both engines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Sites
    from .site import Site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def site(engine: str, sites: Sites) -> Iterator[Site]:
    with sites(engine, little=True, protected=True, verify={"suites": ["smoke"]}) as made:
        made.dcops("deploy", "dev", "--yes")
        yield made


def test_users_are_kept_out_and_let_in_again(site: Site) -> None:
    assert site.json("maintenance", "on", "dev", code=6)["code"] == "DC-CONFIRMATION"
    done = site.json("maintenance", "on", "dev", "--retry-after", "10m", "--yes", "--reason", "disks")
    assert (done["result"], done["changed"], done["retry_after"]) == ("on", True, 600)
    answer = site.client.request("GET", "/version")
    assert (answer.status, answer.headers["retry-after"]) == (503, "600")
    assert site.client.healthy()
    again = site.dcops("maintenance", "on", "dev", "--retry-after", "10m", "--yes").stdout
    assert "maintenance of dev is on already" in again
    row = site.status()
    assert (row["state"], row["maintenance"]) == ("running", 600)
    assert "under maintenance, users get 503" in site.dcops("status", "dev").stdout
    site.change("under maintenance")
    assert site.json("deploy", "dev", "--yes")["result"] == "deployed"
    assert site.client.request("GET", "/version").status == 503
    assert "serves its users again" in site.dcops("maintenance", "off", "dev", "--yes").stdout
    assert site.client.request("GET", "/version").status == 200
    assert site.status()["maintenance"] is None
    told = site.dcops("history", "dev").stdout
    assert "on, Retry-After 600 s  'disks'" in told


@pytest.mark.parametrize("time", ["0", "soon", "31d", "-5"])
def test_a_time_that_is_none_is_refused(site: Site, time: str) -> None:
    assert (
        site.json("maintenance", "on", "dev", "--yes", f"--retry-after={time}", code=2)["code"] == "DC-USAGE"
    )
    assert site.status()["maintenance"] is None
