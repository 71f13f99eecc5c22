from __future__ import annotations

import os
import tarfile
from typing import TYPE_CHECKING

from dcops.engines.docker_images import Recipe, proxy_recipe

if TYPE_CHECKING:
    from pathlib import Path


def test_a_context_holds_nothing_of_this_machines_owners_and_modes(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "inside").mkdir(parents=True, mode=0o700)
    (tree / "inside" / "module.py").write_text("x = 1\n")
    (tree / "inside" / "module.py").chmod(0o600)
    (tree / "run").write_text("#!/bin/sh\n")
    (tree / "run").chmod(0o700)
    (tree / "link").symlink_to("run")
    with Recipe("FROM base\n", {"tree": tree}).context() as stream, tarfile.open(fileobj=stream) as archive:
        entries = {entry.name: entry for entry in archive}
    assert {(e.uid, e.gid, e.uname) for e in entries.values()} == {(0, 0, "")}
    assert entries["tree/inside"].mode == entries["tree/run"].mode == 0o755
    assert entries["tree/inside/module.py"].mode == 0o644
    assert entries["tree/link"].linkname == "run"
    assert "Dockerfile" in entries


def test_a_recipes_key_follows_the_base_and_the_version(tmp_path: Path) -> None:
    keys = {
        proxy_recipe("base:1", base_id, version).key
        for base_id in ("sha256:a", "sha256:b")
        for version in ("2.11.7", "2.12.0")
    }
    assert len(keys) == 4
    recipe = proxy_recipe("base:1", "sha256:a", "2.11.7")
    assert recipe.adding("caddy", tmp_path / os.devnull).key == recipe.key
