"""Hooks of an environment: when they run, what they are told, and what their failure means."""

from __future__ import annotations

import stat
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from dcops.errors import OperationFailed, PreconditionMissing
from dcops.operations.deploy import DeployRequest, deploy, plan
from dcops.operations.rollback import RollbackRequest, rollback

from .conftest import agree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dcops.operations.deploy import DeployReport

    from .conftest import Site

pytestmark = pytest.mark.slow

TELL = 'env | grep ^DCOPS_ | sort | sed "s/^/$DCOPS_HOOK /" >>said; echo "this is $DCOPS_HOOK"'


@pytest.fixture
def quick(site: Site) -> Site:
    """Without suites, and with a key that nothing needs."""
    site.setting("suites: [smoke]", "suites: []")
    site.setting("model: scripted", "model: scripted\nkey: env:PLANTED")
    return site


@pytest.fixture
def hook(quick: Site) -> Callable[..., Path]:
    def write(name: str, text: str = TELL, *, mode: int = 0o755) -> Path:
        file = quick.root / "environments" / "dev" / "hooks" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(mode)
        return file

    return write


def deployed(site: Site, **variables: str) -> DeployReport:
    world = replace(site.world, environ={**site.world.environ, **variables})
    return deploy(world, DeployRequest("dev", reason="for a test"), agree)


def told(site: Site) -> dict[str, dict[str, str]]:
    """What each hook was told, by its name, in the order in which they ran."""
    found: dict[str, dict[str, str]] = {}
    for line in (site.root / "said").read_text().splitlines():
        name, _, rest = line.partition(" ")
        key, _, value = rest.partition("=")
        found.setdefault(name, {})[key.removeprefix("DCOPS_")] = value
    return found


def notes(site: Site, step: str) -> list[str]:
    return [event.text for event in site.events if (event.step, event.state) == (step, "note")]


def test_they_run_at_their_points_and_are_told_what_happens(quick: Site, hook: Callable[..., Path]) -> None:
    for name in ("pre-build", "pre-switch", "post-deploy", "post-rollback", "on-failure", "README"):
        hook(name)
    first = deployed(quick)
    assert [step.id for step in first.plan.steps if "-" in step.id] == [  # type: ignore[union-attr]
        "pre-build",
        "pre-switch",
        "post-deploy",
    ]
    assert list(told(quick)) == ["pre-build", "pre-switch", "post-deploy"]
    (quick.root / "said").unlink()
    quick.edit("X = 1")
    second = deployed(quick)
    assert first.deployment is not None
    assert second.deployment is not None
    said = told(quick)["post-deploy"]
    assert {key: said[key] for key in ("PREVIOUS_RELEASE", "RELEASE", "KIND", "REASON", "ENVIRONMENT")} == {
        "PREVIOUS_RELEASE": first.deployment.revision.release,
        "RELEASE": second.deployment.revision.release,
        "KIND": "deploy",
        "REASON": "for a test",
        "ENVIRONMENT": "dev",
    }
    assert (said["INSTANCE"], said["OPERATION"]) == (second.deployment.instance, second.deployment.operation)
    assert (said["BACKUP"], said["URL"], said["ERROR"]) == (second.backup, second.url, "")
    assert notes(quick, "pre-switch") == ["this is pre-switch", "this is pre-switch"]
    rollback(quick.world, RollbackRequest("dev"), agree)
    assert [name for name in told(quick) if name.startswith("post-")] == ["post-deploy", "post-rollback"]
    assert told(quick)["post-rollback"]["KIND"] == "rollback"


def test_a_failure_before_the_switch_takes_all_back_and_is_told_to_on_failure(
    quick: Site, hook: Callable[..., Path]
) -> None:
    first = deployed(quick)
    assert first.deployment is not None
    hook("on-failure", f"{TELL}; exit 9")
    for name in ("pre-switch", "pre-build"):
        quick.edit("X = 1")
        hook(name, "echo first; echo last; exit 3")
        with pytest.raises(OperationFailed) as caught:
            deployed(quick)
        assert (caught.value.code, caught.value.cause) == ("DC-HOOK-FAILED", "hook")
        assert caught.value.why.startswith("exit code 3\nfirst\nlast")
        assert "still serves" in caught.value.why
        assert quick.serves() == first.deployment.revision.release
        assert quick.leftovers() == []
        assert quick.look().failed is None
    assert f"the hook {name} of dev failed" in told(quick)["on-failure"]["ERROR"]
    # The first one was taken back, the second one had changed nothing yet.
    assert [entry.result for entry in quick.look().entries] == ["ok", "failed"]


def test_a_failure_after_the_record_is_said_and_the_deployment_stands(
    quick: Site, hook: Callable[..., Path]
) -> None:
    hook("post-deploy", "echo no mail; exit 1")
    report = deployed(quick)
    assert report.result == "deployed"
    [warning] = report.to_json()["warnings"]
    assert "post-deploy" in warning
    assert "no mail" in warning
    assert quick.look().unfinished is None


def test_secrets_stand_neither_in_events_nor_in_the_log(quick: Site, hook: Callable[..., Path]) -> None:
    token, hexadecimal = quick.world.local("dev").token(), "0123456789abcdef" * 4
    shown = "cat environments/../.dcops/dev/token; echo at=/x/$HEX/y; echo $DCOPS_RELEASE; echo $COPY"
    hook("pre-switch", f'echo "key=$PLANTED."; printf "x%s%s\\n" "sk-plan" "ted-key-1"; {shown}')
    report = deployed(quick, PLANTED="sk-planted-key-1", COPY="x sk-planted-key-1", HEX=hexadecimal)
    log = quick.root / ".dcops" / "dev" / "logs" / "hooks.log"
    for text in ("\n".join(notes(quick, "pre-switch")), log.read_text()):
        assert not any(secret in text for secret in (token, hexadecimal, "sk-planted-key-1"))
        assert "key=." in text  # it does not even have the variable
        assert "x***" in text
        assert "at=/x/***/y" in text
        assert report.plan is not None
        assert report.plan.revision.release in text
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_one_that_hangs_is_ended(quick: Site, hook: Callable[..., Path]) -> None:
    quick.setting("ready: 10s", "hook: 500ms, ready: 10s")
    hook("pre-build", "echo begun; sleep 60")
    with pytest.raises(OperationFailed) as caught:
        deployed(quick)
    assert "did not end within 0.5 s" in caught.value.why


def test_what_cannot_be_a_hook_is_refused_with_what_to_do(
    quick: Site, hook: Callable[..., Path], tmp_path: Path
) -> None:
    def refused() -> PreconditionMissing:
        with pytest.raises(PreconditionMissing) as caught:
            plan(quick.world, DeployRequest("dev"))
        assert caught.value.code == "DC-HOOK-UNUSABLE"
        return caught.value

    file = hook("on-failure", mode=0o644)
    assert refused().do.startswith("chmod +x environments/dev/hooks/on-failure")
    file.unlink()
    (tmp_path / "outside").write_text("#!/bin/sh\n")
    (tmp_path / "outside").chmod(0o755)
    file.symlink_to(tmp_path / "outside")
    assert "leads out of the project" in refused().why
    file.unlink()
    file.symlink_to("nowhere")
    assert "there is no file" in refused().why
    file.unlink()
    hook("common.sh")
    file.symlink_to("common.sh")
    assert plan(quick.world, DeployRequest("dev")).steps
