"""Two projects with a `dev` each, and nothing in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Sites
    from .site import Site

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(600)]


def test_two_clones_live_side_by_side(engine: str, sites: Sites, tmp_path: Path) -> None:
    roots = [tmp_path / name / "clone" for name in ("one", "two")]
    quick = {"verify": {"suites": ["smoke"]}}
    with sites(engine, roots[0], **quick) as first:
        with sites(engine, roots[1], **quick) as second:
            urls = [site.json("deploy", "dev")["url"] for site in (first, second)]
            assert urls[0] != urls[1]
            assert first.world.project.name == second.world.project.name
            assert first.world.project.id != second.world.project.id
            assert not set(belongings(first)) & set(belongings(second))
            assert len(belongings(first)) == len(belongings(second)) > 0
            session = first.client.create_session()
            assert second.client.sessions() == []
            second.dcops("down", "dev", "--with-data")
            assert belongings(second) == []
        assert first.status()["state"] == "running"
        assert [each["id"] for each in first.client.sessions()] == [session]


def belongings(site: Site) -> list[str]:
    """Names of what a project has outside its directory."""
    return [name for name in site.remains() if not name.startswith("process ")]
