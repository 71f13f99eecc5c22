"""From one environment to the next: exactly what was proven, with the settings of where it goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dcops.errors import PreconditionMissing, UsageError
from dcops.operations.current import observe
from dcops.operations.deploy import DeployRequest, plan
from dcops.operations.lifecycle import down
from dcops.operations.steps.build import tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dcops.operations.current import Current

    from .conftest import Site

pytestmark = pytest.mark.slow


@pytest.fixture
def two(site: Site) -> Iterator[Site]:
    """A second environment that only takes what dev has proven, without suites of its own."""
    directory = site.root / "environments" / "prod"
    directory.mkdir()
    text = (site.root / "environments" / "dev" / "environment.yaml").read_text()
    own = text.replace("suites: [smoke]", "suites: []").replace(".dcops/dev/logs", ".dcops/prod/logs")
    (directory / "environment.yaml").write_text(f"{own}after: dev\nvariables: {{COLOUR: red}}\n")
    (directory / "toggles.yaml").write_text("polite: false\n")
    yield site
    if site.world.local("prod").choice() is not None:
        down(site.world, "prod", with_data=True)


def refused(site: Site, **request: str) -> PreconditionMissing:
    with pytest.raises(PreconditionMissing) as caught:
        plan(site.world, DeployRequest("prod", **request))
    return caught.value


def prod(site: Site) -> Current:
    return observe(site.world.open("prod"))


def test_only_what_dev_has_served_and_verified_is_accepted(two: Site) -> None:
    error = refused(two)
    assert (error.code, error.exit_code) == ("DC-NOT-VERIFIED-BEFORE", 6)
    assert (error.why, error.do) == ("dev is not deployed", "dcops deploy dev")
    assert refused(two, origin="dev").code == "DC-NOT-DEPLOYED"
    proven = two.deploy().plan
    assert proven is not None
    two.deploy(environment="prod")
    file = two.root / "little" / "__main__.py"
    text = file.read_text()
    two.edit("X = 1")
    error = refused(two)
    assert error.why == f"dev serves {proven.revision.short}"
    assert error.do == "dcops deploy prod --from dev"
    # It serves there, and nothing has proven it.
    two.setting("suites: [smoke]", "suites: []")
    two.deploy()
    error = refused(two, origin="dev")
    assert error.code == "DC-NOT-VERIFIED-BEFORE"
    assert "which it has not verified" in error.why
    # What serves already goes on being deployable, with another toggle as here.
    file.write_text(text)
    (two.root / "environments" / "prod" / "toggles.yaml").write_text("polite: true\n")
    down(two.world, "dev", with_data=True)
    assert plan(two.world, DeployRequest("prod")).revision.release == proven.revision.release


def test_from_deploys_exactly_what_the_other_serves(two: Site) -> None:
    proven = two.deploy().plan
    assert proven is not None
    two.edit("X = 1")
    report = two.deploy(environment="prod", origin="dev")
    assert report.plan is not None
    assert "source     what dev serves" in report.plan.changes
    now = prod(two).deployment
    assert now is not None
    assert now.revision.release == proven.revision.release
    assert (now.revision.configuration["variables"], now.revision.toggles) == (
        {"COLOUR": "red"},
        {"polite": False},
    )
    assert tree(two.world.open("prod"), now.revision.release).is_dir()
    # The same again changes nothing, whatever the files say.
    assert two.deploy(environment="prod", origin="dev").result == "unchanged"


def test_from_itself_or_from_nowhere_is_refused(two: Site) -> None:
    with pytest.raises(UsageError, match="from itself"):
        plan(two.world, DeployRequest("prod", origin="prod"))
    assert refused(two, origin="dev").do == "dcops deploy dev"
