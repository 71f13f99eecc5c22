"""A deployed project of each engine; whatever it started is taken down, and nothing may be left."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from .site import REPOSITORY, Site, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    Sites = Callable[..., AbstractContextManager[Site]]

# Starts in a tenth of the agent's time, and knows all that deploying rests on.
SMALL: dict[str, Any] = {"source": REPOSITORY / "tests/operations/little", "toggles": "speed: 5\n"}


@pytest.fixture(scope="session", autouse=True)
def _own_runtime_directory() -> Iterator[None]:
    """Sockets lie in /tmp, wherever the tests run, so that it can be seen that none is left."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("XDG_RUNTIME_DIR", raising=False)
        patch.delenv("DCOPS_ENV", raising=False)
        patch.delenv("DCOPS_PROJECT", raising=False)
        yield


@pytest.fixture(scope="module", params=["process", pytest.param("docker", marks=pytest.mark.docker)])
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "docker":
        request.getfixturevalue("docker_daemon")
    return name


@pytest.fixture(scope="session")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Sites:
    """Makes projects: ``with sites("process", model="api") as site``; ``little`` for the small one."""

    @contextmanager
    def make(
        engine: str, root: Path | None = None, *, little: bool = False, **settings: Any
    ) -> Iterator[Site]:
        root = root or tmp_path_factory.mktemp("project")
        site = Site(root, engine, settings, **(SMALL if little else {}))
        site.write()
        try:
            yield site
        finally:
            site.down()
        until(lambda: not site.remains(), 10, f"gone: {site.remains()}")

    return make


@pytest.fixture(scope="module")
def site(engine: str, sites: Sites) -> Iterator[Site]:
    """A project that is not deployed yet."""
    with sites(engine) as site:
        yield site


@pytest.fixture(scope="module")
def deployed(engine: str, sites: Sites) -> Iterator[Site]:
    """A project whose `dev` serves; only the quickest suite is run at each deploy."""
    with sites(engine, verify={"suites": ["smoke"]}) as site:
        site.deploy()
        yield site
