"""Fixtures that more than one directory of tests uses."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from dcops.core.environment import Environment, Project
from dcops.engines.docker import DockerEngine
from dcops.engines.docker_daemon import Daemon
from dcops.errors import PreconditionMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    DockerEngines = Callable[..., DockerEngine]


# The same examples at every run, and no verdict by a busy machine's clock.
settings.register_profile("dcops", deadline=None, derandomize=True)
settings.load_profile("dcops")


@pytest.fixture(scope="session")
def docker_daemon(tmp_path_factory: pytest.TempPathFactory) -> Daemon:
    """A Docker daemon that dcops can use; where there is none, the reason and the command that makes one."""
    daemon = Daemon()
    environment = Environment("probe", "docker", tmp_path_factory.getbasetemp())
    try:
        DockerEngine(Project(environment.implementation, "probe", "0" * 8), environment, daemon).check()
    except PreconditionMissing as error:
        said = f"{error.what} {error.why}. {error.do}"
        if os.environ.get("CI") == "true":
            pytest.fail(said)
        pytest.skip(said)
    return daemon


@pytest.fixture(scope="module")
def docker_engines(
    docker_daemon: Daemon, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DockerEngines]:
    """Makes Docker engines, by default of one new project; whatever they leave is removed."""
    made: list[DockerEngine] = []
    root: Path = tmp_path_factory.mktemp("project")
    own = Project(root, "dcops-test", secrets.token_hex(4))

    def make(environment: str = "dev", project: Project = own) -> DockerEngine:
        engine = DockerEngine(project, Environment(environment, "docker", root), docker_daemon)
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.remove(with_data=True)
        for build in engine.builds():
            engine.remove_build(build)
