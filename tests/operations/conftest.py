"""A project whose environment runs the little implementation on the process engine."""

from __future__ import annotations

import json
import shutil
import urllib.request
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dcops.engines.process import ProcessEngine
from dcops.environments import Environments
from dcops.operations import execute
from dcops.operations.current import Current, observe
from dcops.operations.deploy import DeployReport, DeployRequest, deploy
from dcops.operations.execute import CODE, StepCode
from dcops.operations.lifecycle import down
from dcops.operations.world import World
from dcops.projects import find_project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dcops.core.environment import Environment, Project
    from dcops.core.events import OperationEvent
    from dcops.core.plan import Plan
    from dcops.operations.steps.run import Run

LITTLE = Path(__file__).parent / "little"
SETTINGS = """\
engine: process
implementation: little
model: scripted
port: auto
paths: {logs: .dcops/dev/logs, backups: backups}
verify: {suites: [smoke]}
timeouts: {ready: 10s, drain: 2s, warm: 1h}
"""


def agree(_plan: Plan) -> None:
    """Confirms every plan."""


class CrashError(BaseException):
    """As kill -9: nothing is taken back."""


def break_step(
    monkeypatch: pytest.MonkeyPatch, step: str, action: Callable[[], None], *, after: bool
) -> None:
    """Run an action before a step, or right after its effect."""
    code = CODE[step]

    def do(run: Run) -> None:
        if not after:
            action()
        code.do(run)
        if after:
            action()

    monkeypatch.setitem(CODE, step, StepCode(do, code.undo))


@dataclass
class Site:
    """A throw-away project, and what its operations announced."""

    root: Path
    cache: Path
    events: list[OperationEvent] = field(default_factory=list)

    @property
    def project(self) -> Project:
        return find_project(self.root)

    @property
    def world(self) -> World:
        def engine(_name: str, project: Project, environment: Environment) -> ProcessEngine:
            return ProcessEngine(project, environment)

        def probe(_project: Project, _environment: Environment) -> str:
            return "no Docker in these tests"

        return World(self.project, Environments(self.project), engine, probe, self.cache, self.events.append)

    def deploy(self, **request: Any) -> DeployReport:
        return deploy(self.world, DeployRequest(**{"environment": "dev", **request}), agree)

    def look(self) -> Current:
        return observe(self.world.open("dev"))

    def edit(self, text: str) -> None:
        """Make another release of it."""
        with (self.root / "little" / "__main__.py").open("a") as file:
            file.write(f"\n{text}\n")

    def setting(self, old: str, new: str) -> None:
        file = self.root / "environments" / "dev" / "environment.yaml"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    def toggles(self, text: str) -> None:
        (self.root / "environments" / "dev" / "toggles.yaml").write_text(text)

    def declare(self, **toggles: dict[str, Any]) -> None:
        """More toggles of the implementation."""
        file = self.root / "little" / "toggles.schema.json"
        schema = json.loads(file.read_text())
        schema["properties"].update(toggles)
        file.write_text(json.dumps(schema))

    def get(self, path: str = "/") -> Any:
        """As a user: through the proxy, with the token."""
        place = self.world.open("dev")
        headers = {"Authorization": f"Bearer {place.local.token()}"}
        with urllib.request.urlopen(urllib.request.Request(place.url + path, headers=headers)) as answer:
            return json.loads(answer.read())

    def serves(self) -> str:
        return str(self.get("/version")["release"])

    def crash(
        self,
        monkeypatch: pytest.MonkeyPatch,
        step: str,
        *,
        after: bool,
        operation: Callable[[], object] | None = None,
    ) -> None:
        """Deploy, or do something else, and die before a step or right after its effect."""

        def die(*_arguments: object) -> None:
            raise CrashError

        break_step(monkeypatch, step, die, after=after)
        monkeypatch.setattr(execute, "undo", die)
        monkeypatch.setattr(execute, "_committed", die)
        with pytest.raises(CrashError):
            (operation or self.deploy)()
        monkeypatch.undo()

    def leftovers(self) -> list[str]:
        """Instances that are neither serving, warm nor the model, nor the one that failed last, stopped."""
        current = self.look()
        kept = {current.serving, current.model, *current.with_role("warm")}
        if current.failed is not None and not current.runs(current.failed.instance):
            kept.add(current.failed.instance)
        return sorted((current.instances.keys() | current.records.keys()) - kept)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def new_site(tmp_path: Path, cache: Path) -> Iterator[Callable[[], Site]]:
    """Makes projects; each is taken down."""
    made: list[Site] = []

    def make() -> Site:
        root = tmp_path / f"project{len(made)}"
        (root / "environments" / "dev").mkdir(parents=True)
        (root / "environments" / "dev" / "environment.yaml").write_text(SETTINGS)
        (root / "environments" / "dev" / "toggles.yaml").write_text("polite: true\n")
        shutil.copytree(LITTLE, root / "little", ignore=shutil.ignore_patterns("__pycache__"))
        site = Site(root, cache)
        made.append(site)
        return site

    yield make
    for site in made:
        if site.world.local("dev").choice() is not None:
            down(replace(site.world, emit=lambda _event: None), "dev", with_data=True)


@pytest.fixture
def site(new_site: Callable[[], Site]) -> Site:
    return new_site()
