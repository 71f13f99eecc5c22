from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from dcops.engines import caddy
from dcops.errors import PreconditionMissing

if TYPE_CHECKING:
    from pathlib import Path


def test_the_binary_that_came_with_us_runs() -> None:
    assert caddy.version(caddy.binary()).startswith("2.")


def test_else_one_on_the_path_is_taken_else_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(PreconditionMissing) as caught:
        caddy.binary()
    assert caught.value.code == "DC-CADDY-MISSING"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "caddy").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bin" / "caddy").chmod(0o755)
    assert caddy.binary() == tmp_path / "bin" / "caddy"
    assert caddy.version(caddy.binary()) == ""
    assert caddy.version(tmp_path / "nothing") == ""
