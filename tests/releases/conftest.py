from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

DESCRIPTION = {
    "name": "mine",
    "command": ["python", "-m", "mine"],
    "lock": "requirements.lock",
    "toggles": "toggles.schema.json",
}
SCHEMA = {"type": "object", "properties": {"loud": {"type": "boolean", "default": False}}}


def make_implementation(directory: Path) -> Path:
    directory.mkdir(parents=True)
    (directory / "implementation.yaml").write_text(json.dumps(DESCRIPTION))
    (directory / "requirements.lock").write_text("# nothing\n")
    (directory / "toggles.schema.json").write_text(json.dumps(SCHEMA))
    (directory / "__main__.py").write_text("pass\n")
    (directory / "tools").mkdir()
    (directory / "tools" / "run.sh").write_text("#!/bin/sh\n")
    (directory / "tools" / "run.sh").chmod(0o755)
    (directory / "tools" / "again.sh").symlink_to("run.sh")
    return directory


@pytest.fixture
def implementation(tmp_path: Path) -> Path:
    return make_implementation(tmp_path / "implementation")
