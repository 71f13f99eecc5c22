"""A saved plan runs as it was made or not at all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from dcops.cli.main import run

from .conftest import make_plan
from .test_commands import fake_deploy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EDITS: dict[str, Callable[[dict[str, Any]], object]] = {
    "a step removed": lambda plan: plan["steps"].pop(1),
    "a step added": lambda plan: plan["steps"].append({"id": "halt", "title": "", "undo": ""}),
    "another release": lambda plan: plan["revision"].update(release="f" * 64),
    "another digest of what runs": lambda plan: plan.update(based_on="0" * 64),
    "another environment": lambda plan: plan.update(environment="production"),
    "another reason": lambda plan: plan.update(reason="because"),
    "another checksum": lambda plan: plan.update(checksum="0" * 64),
}


@pytest.fixture
def inside(project: Path) -> Callable[..., int]:
    return lambda *words: run([*words, "--project", str(project)])


@pytest.fixture
def saved(inside: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "plan.json"
    monkeypatch.setattr("dcops.operations.deploy.plan", lambda _world, _request: make_plan())
    assert inside("plan", "dev", "-o", str(file)) == 0
    return file


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_one_that_was_edited_is_refused(
    inside: Callable[..., int],
    saved: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    edit: Callable[[dict[str, Any]], object],
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("dcops.operations.deploy.deploy", fake_deploy(seen))
    document = json.loads(saved.read_text())
    edit(document)
    saved.write_text(json.dumps(document))
    assert inside("deploy", "dev", "--plan", str(saved)) == 6
    assert "DC-PLAN-EDITED" in capsys.readouterr().err
    assert seen == []


def test_how_it_is_written_does_not_matter(
    inside: Callable[..., int], saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dcops.operations.deploy.deploy", fake_deploy([]))
    saved.write_text(json.dumps(json.loads(saved.read_text()), sort_keys=True))
    assert inside("deploy", "dev", "--plan", str(saved)) == 0


def test_a_format_of_a_newer_dcops_is_said_as_such(
    inside: Callable[..., int], saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads(saved.read_text()) | {"format": 99}
    saved.write_text(json.dumps(document))
    assert inside("deploy", "dev", "--plan", str(saved)) == 6
    assert "a newer dcops made it" in capsys.readouterr().err
