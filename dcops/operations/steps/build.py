"""Make a release runnable: a private copy, its locked dependencies, the engine's build."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from dcops.core.deployment import Revision
from dcops.core.protocols import Limits
from dcops.core.release import Release, build_id
from dcops.errors import DcopsError, PreconditionMissing
from dcops.files import alone
from dcops.releases.context import build_context, load_release, materialise

if TYPE_CHECKING:
    from collections.abc import Callable

    from dcops.operations.world import Place


COPY = ".copy-"


def revision_of(place: Place, release: Release, configuration: dict[str, object]) -> Revision:
    """The release as this environment would run it on this engine; toggles are added by the caller."""
    implementation = release.implementation
    return Revision(
        release=release.id,
        build=build_id(release.id, place.engine.platform()),
        name=implementation.name,
        command=implementation.command,
        roles=implementation.roles,
        schema=release.schema,
        configuration=dict(configuration),
        toggles={},
        journal=implementation.journal,
    )


def tree(place: Place, release: str) -> Path:
    """Where the private copy of a release's files lies: what backups are made from."""
    return releases_of(place) / release


def files_of(place: Place, revision: Revision) -> Path:
    """The private copy of a release's files; where another machine deployed it, taken out of its build.

    Raises:
        PreconditionMissing: They are not here, and its build does not give them back as they were.
    """
    kept = tree(place, revision.release)
    if not kept.exists():
        try:
            found = _kept(place, lambda target: _exported(place, revision, target)).id
            why = f"its build holds release {found[:12]} now"
        except DcopsError as error:
            found, why = "", f"{error.what} {error.why}".strip()
        if found != revision.release:
            raise PreconditionMissing(
                "DC-RELEASE-FILES-MISSING",
                f"the files of release {revision.short} are not on this machine",
                why=f"it was deployed from another machine, or .dcops was removed; {why}",
                do="run the command on the machine that deployed it",
            )
    return kept


def _exported(place: Place, revision: Revision, target: Path) -> Release:
    place.engine.export(revision.build, revision.name, target)
    return load_release(target)


def releases_of(place: Place) -> Path:
    """Where the project keeps its releases."""
    return place.world.project.root / ".dcops" / "releases"


def model_source() -> Path:
    """The scripted model ships with dcops and is built like any implementation."""
    return Path(__file__).parents[2] / "scripted_model"


def model_revision(place: Place) -> Revision:
    """The scripted model as it would run on this engine."""
    configuration = {"variables": {}, "hosts": [], "limits": asdict(Limits()), "drain_timeout": 5.0}
    return revision_of(place, load_release(model_source()), configuration)


def build(place: Place, source: Path, *, expect: str = "") -> Release:
    """Build what ``source`` holds now, unless the engine already has it.

    Args:
        expect: Release id that the plan was made for.

    Raises:
        PreconditionMissing: The files are no longer those of the plan.
        OperationFailed: Cause ``build``.
    """
    release = _kept(place, lambda target: materialise(source, target))
    if expect and release.id != expect:
        raise PreconditionMissing(
            "DC-FILES-CHANGED",
            f"{source} changed while it was being deployed",
            why=f"planned release {expect[:12]}, found {release.short}",
            do="run the command again",
        )
    _build_copy(place, release)
    return release


def _build_copy(place: Place, release: Release) -> None:
    platform = place.engine.platform()
    if place.engine.has_build(build_id(release.id, platform)):
        return

    def say(text: str) -> None:
        place.say("build", text)

    cache = place.world.cache / "dependencies"
    context = build_context(release, tree(place, release.id), platform, cache, say)
    place.engine.build(context, say)


def _kept(place: Place, copy: Callable[[Path], Release]) -> Release:
    """Copy first, then hash the copy: a file that changes meanwhile cannot tear the release."""
    releases = releases_of(place)
    releases.mkdir(parents=True, exist_ok=True)
    with alone(releases):
        for left in releases.glob(f"{COPY}*"):
            shutil.rmtree(left, ignore_errors=True)  # by one that was killed
        temporary = Path(tempfile.mkdtemp(dir=releases, prefix=COPY))
        try:
            release = copy(temporary / "tree")
            if not tree(place, release.id).exists():
                (temporary / "tree").rename(tree(place, release.id))
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return release
