"""The key is used, and shown by nothing: no event, no error, no report of a bug."""

from __future__ import annotations

import json
import traceback
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from dcops.cli.render.crash import crashed
from dcops.errors import OperationFailed
from dcops.operations.deploy import DeployRequest, deploy
from dcops.operations.execute import CODE, StepCode

from .conftest import agree

if TYPE_CHECKING:
    from pathlib import Path

    from dcops.operations.steps.run import Run

    from .conftest import Site

pytestmark = pytest.mark.slow

KEY = "planted-key-of-no-known-shape"


def test_a_bug_at_its_use_shows_it_nowhere(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    site.setting("model: scripted", "model: api\nkey: env:PLANTED\nisolation: none")
    hooks = site.root / "environments" / "dev" / "hooks"
    hooks.mkdir()
    (hooks / "on-failure").write_text("#!/bin/sh\nenv; echo $DCOPS_ERROR\n")
    (hooks / "on-failure").chmod(0o755)

    def fail(run: Run) -> None:
        key = run.place.key
        raise RuntimeError(f"{key} {key!r} {run.place!r} {vars(run.place)} {[key]}")

    monkeypatch.setitem(CODE, "start", StepCode(fail, CODE["start"].undo))
    world = replace(site.world, environ={**site.world.environ, "PLANTED": KEY})
    with pytest.raises(OperationFailed) as caught:
        deploy(world, DeployRequest("dev"), agree)
    # It was there to be shown: the gateway has it.
    assert KEY in (site.root / ".dcops" / "dev" / "secrets" / "api-key").read_text()
    report = crashed("dcops deploy", caught.value)
    shown = [
        repr(site.events),
        json.dumps(caught.value.to_json(), default=str),
        json.dumps([entry.to_json() for entry in site.look().entries]),
        json.dumps(report.to_json()),
        next((tmp_path / "dcops" / "reports").glob("report-*")).read_text(),
        "".join(traceback.format_exception(caught.value)),
        (site.root / ".dcops" / "dev" / "logs" / "hooks.log").read_text(),
    ]
    assert all("***" in text or "RuntimeError" in text or "DCOPS_HOOK" in text for text in shown)
    assert [text for text in shown if KEY in text] == []
