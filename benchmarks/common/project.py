"""A throw-away project that is deployed to one engine, and taken down again."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from dcops.cli.wiring import make_world, probe_docker
from dcops.core.environment import Environment
from dcops.errors import DcopsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dcops.operations.world import Place, World

REPOSITORY = Path(__file__).parents[2]
DCOPS = Path(sys.executable).with_name("dcops")


def seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def run(*words: str, cwd: Path = REPOSITORY) -> float:
    """Wall time of a command that must succeed."""
    return seconds(lambda: subprocess.run(words, cwd=cwd, check=True, capture_output=True))


class Trial:
    """A project whose `dev` environment runs a copy of the shipped agent.

    Args:
        settings: For `environment.yaml`, besides what every benchmark needs.
    """

    def __init__(self, root: Path, engine: str, settings: dict[str, Any]) -> None:
        self.root, self.engine = root, engine
        environment = root / "environments" / "dev"
        environment.mkdir(parents=True)
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / "dcops" / "agent", root / "agent", ignore=ignore)
        self._module = root / "agent" / "__init__.py"
        self._text = self._module.read_text()
        settings = {"engine": engine, "implementation": "agent", "model": "scripted", **settings}
        (environment / "environment.yaml").write_text(yaml.safe_dump(settings))
        (environment / "toggles.yaml").write_text("thinking_budget: 2048\n")

    @property
    def world(self) -> World:
        return make_world(self.root, None)

    @property
    def place(self) -> Place:
        return self.world.open("dev")

    def dcops(self, *words: str) -> float:
        return run(str(DCOPS), *words, cwd=self.root)

    def change(self, text: str) -> None:
        """Make another release; the same text makes the same one again, none the first one."""
        self._module.write_text(f"{self._text}# {text}\n" if text else self._text)


@contextmanager
def deployed(engine: str, **settings: Any) -> Iterator[Trial]:
    """A project that serves; behind it nothing of it is left."""
    root = Path(tempfile.mkdtemp(prefix="dcops-bench-"))
    trial = Trial(root, engine, settings)
    try:
        trial.dcops("deploy", "dev")
        yield trial
    finally:
        place_engine = trial.place.engine if trial.world.local("dev").choice() else None
        if place_engine is not None:
            trial.dcops("down", "dev", "--with-data")
            for build in place_engine.builds():
                place_engine.remove_build(build)
        shutil.rmtree(root)


def why_not(engine: str) -> str:
    """Why an engine cannot be measured here; empty when it can."""
    if engine == "process":
        return ""
    try:
        world = make_world(REPOSITORY, None)
        return probe_docker(world.project, Environment("dev", "docker", REPOSITORY))
    except DcopsError as error:
        return error.what
