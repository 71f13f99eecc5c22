"""What asks and warns where sessions and workspace are concerned."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from dcops.cli.console import Console
from dcops.cli.main import run
from dcops.core.backup import Backup
from dcops.core.plan import OUTAGE
from dcops.errors import NotFound

from .conftest import make_plan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


@pytest.fixture
def inside(project: Path) -> Callable[..., int]:
    return lambda *words: run([*words, "--project", str(project)])


@pytest.mark.parametrize(("left_out", "code"), [((), 0), (("workspace/closed",), 10)])
def test_a_backup_that_lacks_some_data_says_so_by_its_exit_code(
    inside: Callable[..., int], monkeypatch: Patch, capsys: Capture, left_out: tuple[str, ...], code: int
) -> None:
    seen: list[Any] = []

    def create(_world: Any, _environment: str, **asked: Any) -> Backup:
        seen.append(asked)
        return Backup("backup_1", 1.0, "dev", data=True, data_bytes=7, left_out=left_out)

    monkeypatch.setattr("dcops.operations.backup.create_backup", create)
    assert inside("backup", "create", "dev", "--with-data") == code
    assert seen == [{"reason": "", "with_data": True}]
    out, err = capsys.readouterr()
    assert out.strip() == "backup_1"
    assert ("workspace/closed" in err) is bool(left_out)
    assert inside("backup", "create", "dev", "--with-data", "--json") == code
    assert json.loads(capsys.readouterr().out)["backup"]["left_out"] == list(left_out)


@pytest.fixture
def confirming(monkeypatch: Patch) -> None:
    """A rollback that only asks, by a plan that puts data back."""

    def rollback(_world: Any, request: Any, confirm: Any) -> None:
        made = make_plan(environment=request.environment)
        confirm(replace(made, kind="rollback", steps=(OUTAGE["restore"],)))
        raise NotFound("DC-NO-PREVIOUS", "it was confirmed")

    monkeypatch.setattr("dcops.operations.rollback.rollback", rollback)


@pytest.mark.usefixtures("confirming")
def test_data_is_replaced_only_when_somebody_means_it(
    inside: Callable[..., int], monkeypatch: Patch, capsys: Capture
) -> None:
    words = ("rollback", "latest", "--env", "dev", "--with-data")
    assert inside(*words) == 6
    assert "DC-CONFIRMATION: sessions and workspace of now are replaced" in capsys.readouterr().err
    assert inside(*words, "--yes") == 7
    monkeypatch.setattr(Console, "interactive", True)
    monkeypatch.setattr("sys.stdin", io.StringIO("no\n"))
    assert inside(*words) == 6
    monkeypatch.setattr("sys.stdin", io.StringIO("dev\n"))
    assert inside(*words) == 7
