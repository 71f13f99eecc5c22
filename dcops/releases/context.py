"""From a directory to a release, and from a release to what an engine needs to build it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcops.core.protocols import BuildContext, Platform, Say
from dcops.core.release import Release, build_id, release_id
from dcops.releases.dependencies import install
from dcops.releases.implementation import FILE, invalid, read_ignore, read_implementation, read_toggle_schema
from dcops.releases.tree import copy, scan

if TYPE_CHECKING:
    from pathlib import Path


def load_release(directory: Path) -> Release:
    """The release that a directory holds now.

    Raises:
        PreconditionMissing: The implementation is bad (DC-IMPLEMENTATION-INVALID).
    """
    implementation = read_implementation(directory)
    schema = read_toggle_schema(directory, implementation)
    files = scan(directory, read_ignore(directory, implementation))
    needed = {FILE, implementation.lock, implementation.toggles} - {""}
    if left_out := sorted(needed - {entry.path for entry in files}):
        raise invalid(
            directory / left_out[0], "is needed, but left out by an ignore pattern or reached by a link"
        )
    return Release(release_id(files), implementation, schema, files)


def materialise(directory: Path, target: Path) -> Release:
    """Copy an implementation and hash the copy, so files that change meanwhile cannot make a false id.

    Args:
        directory: The implementation.
        target: Directory of the private copy; it must not exist, its parent must.

    Returns:
        The release that the copy is; deploy that one.
    """
    copy(directory, target, read_ignore(directory, read_implementation(directory)))
    return load_release(target)


def build_context(release: Release, tree: Path, platform: Platform, cache: Path, say: Say) -> BuildContext:
    """All that an engine needs to build a release, its dependencies installed.

    Args:
        release: From ``materialise``.
        tree: The private copy.
        platform: What it is built for.
        cache: Directory of installed dependencies.
        say: Takes lines about what goes on.

    Raises:
        OperationFailed: The dependencies cannot be installed (DC-DEPENDENCIES, cause ``build``).
    """
    dependencies, dependencies_id = install(tree / release.implementation.lock, platform, cache, say)
    dockerfile = tree / "Dockerfile"
    return BuildContext(
        build=build_id(release.id, platform),
        release=release.id,
        name=release.implementation.name,
        tree=tree,
        command=release.implementation.command,
        dependencies=dependencies,
        dependencies_id=dependencies_id,
        dockerfile=dockerfile if dockerfile.is_file() else None,
    )
