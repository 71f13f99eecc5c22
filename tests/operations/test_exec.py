from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dcops.errors import NotFound, PreconditionMissing
from dcops.operations.exec import execute
from dcops.operations.lifecycle import stop

if TYPE_CHECKING:
    from .conftest import Site


def test_nothing_deployed_runs_no_command(site: Site) -> None:
    with pytest.raises(PreconditionMissing, match="not deployed"):
        execute(site.world, "dev", ["true"], tty=False)


@pytest.mark.slow
def test_a_command_runs_beside_what_serves_or_what_is_named(site: Site) -> None:
    site.deploy()
    first = site.look().serving
    site.edit("# another")
    site.deploy()
    shows = ["sh", "-c", 'echo "$DCOPS_INSTANCE" > "$DCOPS_WORKSPACE/who"; exit 3']
    who = site.root / ".dcops" / "dev" / "workspace" / "who"
    for named, instance in ((None, site.look().serving), ("warm", first), (first, first)):
        assert execute(site.world, "dev", shows, instance=named, tty=False) == 3
        assert who.read_text().strip() == instance
    with pytest.raises(NotFound, match="no instance nobody"):
        execute(site.world, "dev", ["true"], instance="nobody", tty=False)
    stop(site.world, "dev")
    with pytest.raises(PreconditionMissing, match="is down"):
        execute(site.world, "dev", ["true"], tty=False)
