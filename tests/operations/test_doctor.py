from __future__ import annotations

import socket
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from dcops.core.deployment import Entry
from dcops.errors import NotFound
from dcops.operations.declared import declared_toggles
from dcops.operations.doctor import doctor

if TYPE_CHECKING:
    from dcops.core.protocols import Finding

    from .conftest import Site


def found(site: Site, check: str, environment: str | None = None) -> Finding:
    return next(each for each in doctor(site.world, environment) if each.check == check)


def test_a_good_project_has_no_failure_and_every_failure_has_a_fix(site: Site) -> None:
    findings = doctor(site.world, "dev")
    assert {each.check for each in findings} >= {
        "dev: files",
        "dev: implementation",
        "dev: toggles",
        "dev: port",
    }
    assert [each for each in findings if each.status == "fail"] == []
    site.toggles("polite: 3\n")
    bad = [each for each in doctor(site.world, "dev") if each.status == "fail"]
    assert bad
    assert all(each.fix for each in bad)


def test_what_concerns_nobody_yet_is_a_warning(site: Site) -> None:
    site.setting("model: scripted", "model: api\nkey: env:NO_SUCH_KEY")
    assert found(site, "dev: key").status == "warn"
    finding = found(site, "dev: key", "dev")
    assert finding.status == "fail"
    assert "NO_SUCH_KEY" in finding.fix


def test_a_key_is_never_shown(site: Site) -> None:
    site.setting("model: scripted", "model: api\nkey: env:THE_KEY")
    world = replace(site.world, environ={"THE_KEY": "sk-ant-secret"})
    findings = doctor(world, "dev")
    assert next(each for each in findings if each.check == "dev: key").status == "ok"
    assert "sk-ant-secret" not in str(findings)


def test_a_port_that_is_taken_names_its_owner(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        site.setting("port: auto", f"port: {server.getsockname()[1]}")
        finding = found(site, "dev: port", "dev")
    assert finding.status == "fail"
    assert "pid" in finding.detail


def test_bad_files_and_a_bad_implementation_are_told_apart(site: Site) -> None:
    (site.root / "little" / "implementation.yaml").write_text("name: [")
    assert found(site, "dev: files").status == "ok"
    assert found(site, "dev: implementation and toggles", "dev").status == "fail"
    site.setting("engine: process", "engine: proces")
    assert found(site, "dev: files").status == "fail"


def test_egress_is_said_not_to_be_enforced_by_the_process_engine(site: Site) -> None:
    assert "dev: egress" not in {each.check for each in doctor(site.world, "dev")}
    site.setting("engine: process", "engine: process\negress: [example.org]")
    finding = found(site, "dev: egress")
    assert (finding.status, "--engine docker" in finding.fix) == ("warn", True)


def test_auto_says_which_engine_it_would_take_and_why(site: Site) -> None:
    site.setting("engine: process", "engine: auto")
    assert "no Docker in these tests" in found(site, "dev: engine").detail


def test_a_value_that_ends_is_a_warning(site: Site) -> None:
    assert "dev: voice" not in {each.check for each in doctor(site.world, "dev")}
    site.declare(voice={"type": "string", "default": "new", "x-retires": {"old": "2020-01-02"}})
    site.toggles("voice: old\n")
    finding = found(site, "dev: voice", "dev")
    assert (finding.status, finding.detail) == ("warn", "voice old was retired on 2020-01-02")
    assert finding.fix == "choose another one: dcops toggle set voice VALUE --env dev"


def test_an_unknown_environment_is_not_found(site: Site) -> None:
    with pytest.raises(NotFound):
        doctor(site.world, "staging")


def test_toggles_are_named_without_a_deployment(site: Site) -> None:
    assert declared_toggles(site.world) == {"answers", "polite", "bows", "speed"}


@pytest.mark.slow
def test_a_deployed_environment_owns_its_port_and_its_clock_is_checked(site: Site) -> None:
    site.deploy()
    assert "is ours" in found(site, "dev: port").detail
    assert found(site, "dev: clock").status == "ok"
    ahead = Entry(kind="toggle", result="ok", at=time.time() + 3600, seconds=0, by="test")
    site.world.open("dev").history.append(ahead)
    finding = found(site, "dev: clock")
    assert finding.status == "warn"
    assert finding.fix
