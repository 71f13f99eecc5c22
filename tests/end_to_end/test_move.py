"""An environment that moves from one engine to another, asked for with --engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Sites

pytestmark = [pytest.mark.slow, pytest.mark.docker, pytest.mark.timeout(600)]


@pytest.mark.usefixtures("docker_daemon")
def test_what_served_serves_until_the_other_engine_does(sites: Sites) -> None:
    with sites("docker", verify={"suites": ["smoke"]}) as site:
        site.dcops("deploy", "dev", "--engine", "process")
        assert site.status()["engine"] == "process"
        assert site.processes()
        broken = site.agent / "loop.py"
        whole = broken.read_text()
        broken.write_text(
            "import nothing_there\n" + whole.replace("from __future__ import annotations\n", "")
        )
        site.dcops("deploy", "dev", "--engine", "docker", code=3)
        assert (site.status()["engine"], site.status()["state"]) == ("process", "running")
        broken.write_text(whole)
        site.dcops("deploy", "dev", "--engine", "docker")
        assert (site.status()["engine"], site.status()["state"]) == ("docker", "running")
        assert not site.processes()
