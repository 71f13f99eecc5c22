"""Logs and exec by the command line, on both engines."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from .site import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Sites
    from .site import Site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def site(engine: str, sites: Sites) -> Iterator[Site]:
    with sites(engine, little=True, verify={"suites": ["smoke"]}) as made:
        begins = "def main() -> None:\n"
        made._module = made._module.replace(
            begins, f'{begins}    os.write(2, INSTANCE.encode() + b" begins\\n")\n'
        )
        made.change("")
        made.dcops("deploy", "dev")
        yield made


def test_a_command_ends_as_it_ends_beside_the_instance(site: Site) -> None:
    serving = site.current().serving
    assert (
        site.dcops("exec", "dev", "sh", "-c", "echo $DCOPS_INSTANCE; exit 9", code=9).stdout == f"{serving}\n"
    )
    assert site.dcops("exec", "dev", "--instance", serving, "python", "-c", "print(6 * 7)").stdout == "42\n"
    said = site.dcops("exec", "dev", "no-such-command", code=127)
    assert (said.stdout, "no-such-command" in said.stderr) == ("", True)
    given = bytes(range(256)) * 4096
    piped = subprocess.run(
        site.command("exec", "dev", "cat"),
        cwd=site.root,
        env=site.environ,
        input=given,
        capture_output=True,
        check=True,
    )
    assert piped.stdout == given
    assert site.json("exec", "dev", code=2)["code"] == "DC-USAGE"


def test_following_survives_a_crash_and_goes_on_to_the_next_one(site: Site) -> None:
    first = site.current().serving
    words = site.command("logs", "dev", "-f")

    def begun(instance: str) -> int:
        return (site.root / "out").read_text().count(f"{instance} begins")

    with (site.root / "out").open("wb") as out, (site.root / "err").open("wb") as err:
        following = subprocess.Popen(words, cwd=site.root, env=site.environ, stdout=out, stderr=err)
    try:
        until(lambda: begun(first) == 1)
        site.place.engine.kill(first)
        until(lambda: begun(first) == 2)
        site.change("the next one")
        site.dcops("deploy", "dev")
        second = site.current().serving
        until(lambda: f"{second} serves now, after {first}" in (site.root / "err").read_text())
        site.place.engine.kill(second)
        until(lambda: begun(second) > 0)
        assert following.poll() is None
        site.dcops("stop", "dev")
        assert following.wait(60) == 0
    finally:
        following.kill()
        following.wait()
    site.dcops("start", "dev")
