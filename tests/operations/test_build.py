from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from dcops.operations.deploy import DeployRequest, deploy

from .conftest import agree

if TYPE_CHECKING:
    from .conftest import Site

pytestmark = pytest.mark.slow


def test_two_deploys_at_once_build_once_and_both_end_well(site: Site) -> None:
    site.deploy()
    site.edit("X = 1")
    results: list[str] = []

    def run() -> None:
        results.append(deploy(site.world, DeployRequest("dev", lock_wait=30), agree).result)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["deployed", "unchanged", "unchanged"]
    assert site.leftovers() == []


def test_what_a_killed_build_left_is_removed(site: Site) -> None:
    left = [site.root / ".dcops" / name for name in ("releases/.copy-x", "builds/.new-x", "builds/.old-x")]
    for directory in left:
        (directory / "tree").mkdir(parents=True)
    site.deploy()
    assert [directory for directory in left if directory.exists()] == []
