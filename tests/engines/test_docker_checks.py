from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from dcops.core.environment import Environment, Project
from dcops.engines.docker import DockerEngine
from dcops.engines.docker_caddy import caddy_version
from dcops.engines.docker_checks import caddy_finding, check_version, findings
from dcops.engines.docker_daemon import Daemon
from dcops.errors import PreconditionMissing

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment("dev", "docker", tmp_path, base_image="dcops-test-none:1")


def test_a_daemon_that_is_down_is_one_finding_with_its_fix(
    monkeypatch: pytest.MonkeyPatch, environment: Environment
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    (finding,) = findings(Daemon(), environment.base_image)
    assert (finding.check, finding.status, finding.data["code"]) == ("docker", "fail", "DC-ENGINE-DOWN")
    assert "systemctl start docker" in finding.fix


@pytest.mark.parametrize("version", ["19.03.15", "1.13.1", "20.9"])
def test_an_old_daemon_is_refused(version: str) -> None:
    with pytest.raises(PreconditionMissing) as caught:
        check_version(version)
    assert caught.value.code == "DC-ENGINE-OLD"


@pytest.mark.parametrize("version", ["20.10.24+dfsg1", "28.2.2", "29.0.0-rc.1"])
def test_a_daemon_that_is_new_enough_is_taken(version: str) -> None:
    check_version(version)


@pytest.mark.docker
def test_a_usable_engine_has_nothing_to_mend(docker_daemon: Daemon) -> None:
    found = {each.check: each.status for each in findings(docker_daemon, "dcops-base:bookworm")}
    assert found["docker"] == found["base image"] == "ok"
    assert found["docker disk"] in ("ok", "warn")


@pytest.mark.docker
def test_a_missing_base_image_is_said_by_every_way(
    docker_daemon: Daemon, environment: Environment, tmp_path: Path
) -> None:
    engine = DockerEngine(Project(tmp_path, "dcops-test", "0" * 8), environment, docker_daemon)
    by_check = {each.check: each for each in engine.findings()}
    assert by_check["base image"].status == "fail"
    assert "make docker" in by_check["base image"].fix
    for needs_it in (engine.check, engine.platform, engine.prepare):
        with pytest.raises(PreconditionMissing) as caught:
            needs_it()
        assert caught.value.code == "DC-BASE-IMAGE-MISSING"


@pytest.mark.docker
def test_the_base_is_asked_once(
    docker_daemon: Daemon, environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    environment = replace(environment, base_image="dcops-base:bookworm")
    engine = DockerEngine(Project(tmp_path, "dcops-test", "0" * 8), environment, docker_daemon)
    asked = engine.platform()
    assert asked.system == "linux"
    assert asked.base.startswith("sha256:")
    (remembered,) = (tmp_path / "dcops" / "platforms").iterdir()
    remembered.write_text('{"python": "3.99", "machine": "x86_64", "libc": "gnu"}')
    assert engine.platform().python == "3.99"
    remembered.write_text("half of a")
    assert engine.platform() == asked


def test_a_proxy_of_another_version_is_a_warning() -> None:
    ours = caddy_version()
    assert caddy_finding("") == caddy_finding(ours)
    assert (caddy_finding(ours).status, caddy_finding(ours).detail) == ("ok", f"Caddy {ours}")
    assert caddy_finding("1.0").status == "warn"
