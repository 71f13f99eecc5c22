"""A project in an awkward place, and one of somebody without rights."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dcops.engines.interpreter import base_interpreter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Sites
    from .site import Site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
LENGTH = 120
QUICK = {"suites": ["smoke", "contract"]}
UID = 61234


@contextmanager
def long_path() -> Iterator[Path]:
    """A directory whose path has 120 characters and a space; others may enter it."""
    base = Path(tempfile.mkdtemp(prefix="dcops "))
    base.chmod(0o755)
    try:
        yield base / ("x" * (LENGTH - len(str(base)) - 1))
    finally:
        shutil.rmtree(base)


def use(site: Site) -> None:
    """The main commands, once each."""
    assert len(str(site.root)) == LENGTH
    assert " " in str(site.root)
    site.dcops("deploy", "dev")
    assert site.dcops("chat", "dev", "run: pwd").stdout.startswith(f"{site.root}/.dcops/dev/workspace/")
    site.dcops("toggle", "set", "max_tokens", "40000", "--env", "dev")
    site.change("moved on")
    site.dcops("deploy", "dev")
    site.dcops("rollback", "--env", "dev")
    assert site.status()["state"] == "running"
    site.dcops("down", "dev", "--with-data")


def test_a_project_under_a_long_path_with_a_space(sites: Sites) -> None:
    with long_path() as root, sites("process", root, verify=QUICK) as site:
        use(site)


def as_nobody(home: Path) -> tuple[str, ...]:
    """Words that run a command as a user who owns nothing else; skips where he cannot read our Python."""
    if os.getuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("needs root and setpriv to become another user; the other tests run as this one")
    words = ("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups")
    python = base_interpreter()
    tried = subprocess.run([*words, "test", "-r", python], cwd=home, check=False)
    if tried.returncode:
        pytest.skip(f"another user cannot read {python}, the interpreter of these tests")
    return words


def test_a_user_without_rights_deploys(sites: Sites) -> None:
    with long_path() as root:
        words = as_nobody(root.parent)
        home = root.parent / "home"
        ours = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dcops"
        shutil.copytree(ours, home / ".cache" / "dcops", symlinks=True)
        variables = {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), "USER": "nobody"}
        with sites("process", root, verify=QUICK) as site:
            site.prefix, site.variables = words, variables
            subprocess.run(["chown", "-R", f"{UID}:{UID}", str(root), str(home)], check=True)
            use(site)
