"""A change of the port, or of anything else that needs a new proxy."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from dcops.errors import DcopsError, OperationFailed
from dcops.operations.deploy import DeployRequest, plan
from dcops.operations.resume import abort, resume

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Site

pytestmark = pytest.mark.slow


@pytest.fixture
def free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def test_another_port_serves_from_the_next_deploy_on(site: Site, free: int) -> None:
    site.deploy()
    site.setting("port: auto", f"port: {free}")
    before = site.get("/v1/instance")["instance"]
    planned = plan(site.world, DeployRequest("dev"))
    assert any(line.startswith("proxy") for line in planned.changes)
    assert site.deploy().url == f"http://127.0.0.1:{free}"
    assert site.get("/v1/instance")["instance"] == before


def test_a_port_that_is_taken_changes_nothing(site: Site, taken: int) -> None:
    url = site.deploy().url
    site.setting("port: auto", f"port: {taken}")
    with pytest.raises(OperationFailed) as caught:
        site.deploy()
    assert (caught.value.code, caught.value.exit_code) == ("DC-PORT-TAKEN", 3)
    assert site.world.open("dev").url == url
    assert site.get()["greeting"] == "hello"


def test_a_failure_after_the_proxy_changed_puts_the_earlier_one_back(site: Site, free: int) -> None:
    url = site.deploy().url
    site.setting("port: auto", f"port: {free}")
    main = site.root / "little" / "__main__.py"
    main.write_text(
        main.read_text().replace("def main() -> None:", "def main() -> None:\n    raise OSError\n")
    )
    with pytest.raises(DcopsError):
        site.deploy()
    assert site.world.open("dev").url == url
    assert site.get()["greeting"] == "hello"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_while_the_proxy_changes_can_be_finished(
    site: Site, monkeypatch: pytest.MonkeyPatch, free: int, *, after: bool
) -> None:
    site.deploy()
    site.setting("port: auto", f"port: {free}")
    site.crash(monkeypatch, "proxy", after=after)
    assert resume(site.world, "dev").url == f"http://127.0.0.1:{free}"
    assert site.get()["greeting"] == "hello"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_while_the_proxy_changes_can_be_taken_back(
    site: Site, monkeypatch: pytest.MonkeyPatch, free: int, *, after: bool
) -> None:
    url = site.deploy().url
    site.setting("port: auto", f"port: {free}")
    site.crash(monkeypatch, "proxy", after=after)
    assert abort(site.world, "dev").url == url
    assert site.get()["greeting"] == "hello"
