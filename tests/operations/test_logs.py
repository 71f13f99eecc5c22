from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from dcops.errors import NotFound, OperationFailed, PreconditionMissing
from dcops.operations.history import read_history
from dcops.operations.lifecycle import stop
from dcops.operations.logs import Line, read_logs

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
    assert [line.text for line in found.lines][:2] == ["one", "two"]
    assert len(list(read_logs(site.world, "dev", instance=serving, lines=1).lines)) == 1
    assert read_logs(site.world, "dev", instance="serving").instance == serving
    with pytest.raises(NotFound, match="no instance nobody"):
        read_logs(site.world, "dev", instance="nobody")
    following = read_logs(site.world, "dev", follow=True).lines
    assert next(iter(following)) == Line(serving, "one")


def version(site: Site, name: str) -> None:
    """Make another release, whose instances say its name first."""
    file = site.root / "little" / "__main__.py"
    said = re.compile(r"^def main\(\) -> None:\n(    os\.write\(2, .*\n)?", re.MULTILINE)
    text = f'def main() -> None:\n    os.write(2, b"{name}\\\\n")\n'
    file.write_text(said.sub(text, file.read_text()))


@pytest.mark.slow
def test_following_goes_on_with_whatever_serves_next(site: Site) -> None:
    version(site, "first")
    site.deploy()
    first = site.look().serving
    following = read_logs(site.world, "dev", follow=True)
    assert following.instance == first
    assert next(following.lines) == Line(first, "first")
    fixed = read_logs(site.world, "dev", instance=first, follow=True).lines
    assert next(fixed).text == "first"
    version(site, "second")
    site.deploy()
    second = site.look().serving
    found = next(line for line in following.lines if line.instance != first)
    assert found == Line(second, "second")
    assert f"{second} serves now, after {first}" in [event.text for event in site.events]
    stop(site.world, "dev")
    assert [line.instance for line in following.lines if line.instance != second] == []
    assert [line.instance for line in fixed if line.instance != first] == []


@pytest.mark.slow
def test_the_log_of_a_candidate_is_there_after_it_failed(site: Site) -> None:
    version(site, "good")
    site.deploy()
    with pytest.raises(NotFound, match="has no candidate"):
        read_logs(site.world, "dev", instance="candidate")
    version(site, "bad")
    file = site.root / "little" / "__main__.py"
    said = 'os.write(2, b"bad\\n")\n'
    file.write_text(file.read_text().replace(said, f"{said}    raise SystemExit\n"))
    with pytest.raises(OperationFailed):
        site.deploy()
    found = read_logs(site.world, "dev", instance="candidate")
    assert found.instance != site.look().serving
    assert "bad" in [line.text for line in found.lines]


@pytest.mark.slow
def test_history_is_newest_first(site: Site) -> None:
    site.deploy(reason="first")
    site.toggles("polite: false\n")
    site.deploy(reason="second")
    assert [entry.reason for entry in read_history(site.world, "dev")] == ["second", "first"]
    assert [entry.reason for entry in read_history(site.world, "dev", limit=1)] == ["second"]
