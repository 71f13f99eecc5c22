"""The low-water mark of the disk, told by a made-up file system and by a real one."""

from __future__ import annotations

import os
import subprocess
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from dcops.agent.service.disk import Disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MB = 1 << 20


def test_it_names_the_place_that_is_short_and_by_how_much(tmp_path: Path) -> None:
    free = {"state": 300 * MB, "workspace": 300 * MB}

    def statvfs(path: Path) -> Any:
        return SimpleNamespace(f_bavail=free[path.name] // 4096, f_frsize=4096)

    places = {"sessions": tmp_path / "state", "workspace": tmp_path / "workspace"}
    disk = Disk(places, 256 * MB, statvfs)
    assert disk.shortage() is None
    free["workspace"] = 100 * MB
    assert disk.shortage() == "the disk of the workspace has 100 MB free, and 256 MB are needed"
    assert Disk(places, 0, statvfs).shortage() is None
    free["workspace"] = 256 * MB
    assert disk.shortage() is None


def test_a_place_that_is_not_there_is_no_shortage(tmp_path: Path) -> None:
    assert Disk({"workspace": tmp_path / "none"}, 256 * MB).shortage() is None


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", place], check=False)
    if os.geteuid() != 0 or mounted.returncode:
        pytest.skip("needs the right to mount a file system")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.slow
def test_no_turn_starts_on_a_disk_that_is_nearly_full(
    make_agent: Callable[..., Any], small_disk: Path
) -> None:
    agent = make_agent(DCOPS_DISK_FREE=str(4 * MB), DCOPS_WORKSPACE=str(small_disk)).start().ready()
    session = agent.session()
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(5 * MB))
    refused = agent.http.post(f"/v1/sessions/{session}/turns", json={"input": "hello"})
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (503, "disk_low")
    assert "workspace has 3 MB free, and 4 MB are needed" in error["message"]
    assert error["do"]
    assert refused.headers["retry-after"]
    told = agent.http.get("/readyz")
    assert told.status_code == 503
    assert any("workspace has 3 MB free" in reason for reason in told.json()["reasons"])
    ballast.unlink()
    agent.until(lambda: agent.answers("/readyz"))
    assert agent.run(session, "hello")[-1][1]["type"] == "RUN_FINISHED"
