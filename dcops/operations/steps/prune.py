"""Remove releases and builds that nothing needs any more; what is not sure to be useless stays.

Dependencies stay too: they are a cache by content that all projects of this user share.
"""

from __future__ import annotations

import secrets
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dcops.backups.store import BackupRepository
from dcops.core.deployment import Revision, deployments, previous
from dcops.core.release import build_id
from dcops.errors import DcopsError
from dcops.files import alone, scratch
from dcops.operations.current import observe
from dcops.operations.steps.build import COPY, model_revision, releases_of
from dcops.operations.tidy import temporary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dcops.core.environment import Environment
    from dcops.core.protocols import Platform
    from dcops.operations.steps.run import Run
    from dcops.operations.world import Place, World

PIN = "deploy"


@dataclass
class Needs:
    """What must stay.

    Attributes:
        platforms: What the builds of these releases on the engine were made for.
    """

    releases: set[str] = field(default_factory=set)
    builds: set[str] = field(default_factory=set)
    platforms: list[Platform] = field(default_factory=list)

    def add(self, revision: Revision | None) -> None:
        if revision is not None:
            self.releases.add(revision.release)
            self.builds.add(revision.build)

    def build(self, build: str) -> bool:
        made = (build_id(release, platform) for release in self.releases for platform in self.platforms)
        return build in self.builds or build in made


@contextmanager
def pinned(place: Place, revision: Revision) -> Iterator[None]:
    """Keep a release that is being deployed from other environments' pruning, until it is in a record."""
    releases = releases_of(place)
    releases.mkdir(parents=True, exist_ok=True)
    with scratch(temporary(place.world.project.root), PIN) as pins:
        with alone(releases):
            (pins / revision.release).touch()
        yield


def do(run: Run) -> None:
    """Prune; whatever goes wrong is no reason to doubt the deployment."""
    try:
        releases, builds = _prune(run.place)
    except (DcopsError, OSError) as error:
        run.say("prune", f"nothing is removed: {error}")
        return
    if releases or builds:
        run.say("prune", f"removed {_counted(releases, 'release')} and {_counted(builds, 'build')}")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _prune(place: Place) -> tuple[int, int]:
    """Remove what nothing needs; how many releases and builds that was."""
    releases, engine = releases_of(place), place.engine
    needs = _needs(place)
    with alone(releases):
        pins = temporary(place.world.project.root).glob(f"scratch-{PIN}-*/*")
        needs.releases |= {pin.name for pin in pins}
        useless = [each for each in releases.glob("[!.]*") if each.name not in needs.releases]
        for each in useless:
            going = each.rename(releases / f"{COPY}{secrets.token_hex(6)}")
            shutil.rmtree(going, ignore_errors=True)
        builds = [build for build in engine.builds() if not needs.build(build)]
        for build in builds:
            engine.remove_build(build)
    return len(useless), sum(not engine.has_build(build) for build in builds)


def _needs(place: Place) -> Needs:
    """Of all environments of the project, as they share releases, and builds on an engine.

    Raises:
        DcopsError: The needs of one cannot be known.
    """
    world, needs = place.world, Needs()
    local = {each.parent.name for each in (world.project.root / ".dcops").glob("*/choice.json")}
    for name in sorted({*world.environments.names(), *local}):
        environment = world.environments.load(name)
        for backup in BackupRepository(environment.backups).list():
            needs.releases.add(backup.release)
        for other in _places(world, environment):
            _add(needs, other)
            if other.choice.engine == place.choice.engine:
                needs.platforms.append(other.engine.platform())
                needs.add(model_revision(other))
    return needs


def _places(world: World, environment: Environment) -> list[Place]:
    """Where an environment runs; two places while it moves."""
    choice = world.choice(environment)
    chosen = [each for each in (choice, choice.leaves if choice else None) if each is not None]
    return [world.place(environment, each) for each in chosen]


def _add(needs: Needs, place: Place) -> None:
    """What one environment needs."""
    current = observe(place)
    made = deployments(current.entries)
    before = previous(made)
    kept = [*made[-place.environment.keep :], *([before] if before else [])]
    for revision in (
        *(record.revision for record in current.records.values()),
        *(deployment.revision for deployment in kept),
    ):
        needs.add(revision)
    for state in current.instances.values():
        needs.releases.add(state.release)
        needs.builds.add(state.build)
    if (left := current.unfinished) is not None:
        needs.add(left.plan.revision)
        needs.add(left.plan.current.revision if left.plan.current else None)
        needs.add(Revision.from_json(left.values["model"]) if "model" in left.values else None)
