from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

DIRECTORY = Path(__file__).resolve().parents[2] / "docs" / "reference"


def test_the_reference_is_what_the_commands_say(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DCOPS_ENV", "DCOPS_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    spec = importlib.util.spec_from_file_location("generate_cli", DIRECTORY / "generate_cli.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    wanted = "write it anew: python docs/reference/generate_cli.py"
    assert (DIRECTORY / "cli.md").read_text() == module.document(), wanted
