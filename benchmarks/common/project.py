"""A throw-away project that is deployed to one engine, and taken down again."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from dcops.cli.wiring import make_world, probe_docker
from dcops.core.environment import Environment
from dcops.errors import DcopsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dcops.operations.world import Place, World

REPOSITORY = Path(__file__).parents[2]
DCOPS = Path(sys.executable).with_name("dcops")


class CommandFailed(Exception):
    """A command ended with an error; its text has what it said."""


def run(*words: str, cwd: Path = REPOSITORY) -> float:
    """Wall time of a command that must succeed.

    Raises:
        CommandFailed: It did not.
    """
    began = time.perf_counter()
    done = subprocess.run(words, cwd=cwd, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise CommandFailed(f"{' '.join(words)}: exit {done.returncode}\n{done.stderr.strip()}")
    return time.perf_counter() - began


class Trial:
    """A project of one environment that runs a copy of the shipped agent, `dev` unless it is told.

    Args:
        settings: For `environment.yaml`, besides what every benchmark needs.
    """

    def __init__(self, root: Path, engine: str, settings: dict[str, Any]) -> None:
        self.root, self.engine, self.name = root, engine, "dev"
        self._settings = {"engine": engine, "implementation": "agent", "model": "scripted", **settings}
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / "dcops" / "agent", root / "agent", ignore=ignore)
        self._module = root / "agent" / "__init__.py"
        self._text = self._module.read_text()
        self.write()

    def write(self) -> None:
        environment = self.root / "environments" / self.name
        environment.mkdir(parents=True)
        (environment / "environment.yaml").write_text(yaml.safe_dump(self._settings))
        (environment / "toggles.yaml").write_text("thinking_budget: 2048\n")

    def beside(self, name: str) -> Trial:
        """Another environment of the same project and implementation."""
        other = copy(self)
        other.name = name
        other.write()
        return other

    @property
    def world(self) -> World:
        return make_world(self.root, None)

    @property
    def place(self) -> Place:
        return self.world.open(self.name)

    def dcops(self, *words: str) -> float:
        return run(str(DCOPS), *words, cwd=self.root)

    def change(self, text: str) -> None:
        """Make another release; the same text makes the same one again, none the first one."""
        self._module.write_text(f"{self._text}# {text}\n" if text else self._text)

    def down(self) -> None:
        """Take down every environment that was deployed, and remove the builds."""
        engine = None
        for name in self.world.environments.names():
            if self.world.local(name).choice() is not None:
                engine = self.world.open(name).engine
                self.dcops("down", name, "--with-data")
        for build in engine.builds() if engine else ():
            engine.remove_build(build)


@contextmanager
def deployed(engine: str, **settings: Any) -> Iterator[Trial]:
    """A project that serves; behind it nothing of it is left."""
    root = Path(tempfile.mkdtemp(prefix="dcops-bench-"))
    try:
        trial = Trial(root, engine, settings)
        try:
            trial.dcops("deploy", "dev")
            yield trial
        finally:
            trial.down()
    finally:
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
