"""A store beside the proxy that finds no space says so in the words of every engine."""

from __future__ import annotations

import base64
import errno
import io
import json
import os
from typing import TYPE_CHECKING

import pytest

from dcops.engines import control
from dcops.engines.docker import _results
from dcops.engines.docker_daemon import Answer
from dcops.errors import DiskFull

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_volume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes], number: int
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    write = {"op": "write", "path": "current", "data": base64.b64encode(b"x").decode()}
    request = {"roots": {"": str(tmp_path)}, "operations": [write]}
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(request) + "\n"))
    monkeypatch.setattr(os, "fsync", full)
    control.main()
    with pytest.raises(DiskFull) as caught:
        _results(Answer(capsysbinary.readouterr().out, b""))
    assert caught.value.exit_code == 6
    assert f"{os.strerror(number)}: '{tmp_path}/current'" in caught.value.why
    assert list(tmp_path.iterdir()) == []
