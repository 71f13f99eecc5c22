from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dcops.errors import NotFound, PreconditionMissing
from dcops.operations.history import read_history
from dcops.operations.logs import read_logs

if TYPE_CHECKING:
    from .conftest import Site


def test_nothing_deployed_has_no_logs_and_no_history(site: Site) -> None:
    with pytest.raises(PreconditionMissing, match="not deployed"):
        read_logs(site.world, "dev")
    with pytest.raises(PreconditionMissing, match="not deployed"):
        read_history(site.world, "dev")


@pytest.mark.slow
def test_logs_are_of_the_serving_instance_or_of_a_role_or_id(site: Site) -> None:

    file = site.root / "little" / "__main__.py"
    file.write_text(
        file.read_text().replace(
            "def main() -> None:\n", 'def main() -> None:\n    os.write(2, b"one\\ntwo\\n")\n'
        )
    )
    site.deploy()
    serving = site.look().serving
    found = read_logs(site.world, "dev")
    assert found.instance == serving
    assert list(found.lines)[:2] == ["one", "two"]
    assert len(list(read_logs(site.world, "dev", instance=serving, lines=1).lines)) == 1
    assert read_logs(site.world, "dev", instance="serving").instance == serving
    with pytest.raises(NotFound, match="no instance nobody"):
        read_logs(site.world, "dev", instance="nobody")
    following = read_logs(site.world, "dev", follow=True).lines
    assert next(iter(following)) == "one"


@pytest.mark.slow
def test_history_is_newest_first(site: Site) -> None:
    site.deploy(reason="first")
    site.toggles("polite: false\n")
    site.deploy(reason="second")
    assert [entry.reason for entry in read_history(site.world, "dev")] == ["second", "first"]
    assert [entry.reason for entry in read_history(site.world, "dev", limit=1)] == ["second"]
