"""Builds as images: the base, the dependencies above it, the release above those."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from dcops.core.protocols import BuildContext, Platform, Say
from dcops.engines.docker_caddy import caddy_binary, caddy_version
from dcops.engines.docker_daemon import Absent, BuildError, Daemon, document
from dcops.engines.docker_images import Recipe, dependencies_recipe, proxy_recipe, release_recipe
from dcops.engines.docker_objects import Names, helper_config
from dcops.engines.refusals import build_missing
from dcops.engines.state import unpack
from dcops.errors import OperationFailed, PreconditionMissing
from dcops.files import scratch, write_file

if TYPE_CHECKING:
    from collections.abc import Mapping

_ASK_PLATFORM = """
import json, platform
print(json.dumps({
    "python": ".".join(platform.python_version_tuple()[:2]),
    "machine": platform.machine(),
    "libc": "gnu" if platform.libc_ver()[0] == "glibc" else "musl",
}))
"""


class DockerBuilds:
    """The building half of the Docker engine.

    Args:
        names: What the environment's objects are called.
        daemon: The daemon that builds and keeps the images.
    """

    def __init__(self, names: Names, daemon: Daemon) -> None:
        self._names = names
        self._daemon = daemon

    def platform(self) -> Platform:
        """What the base image runs; asked of it once, then remembered by the image's id."""
        base = self._base()["Id"]
        cached = _cache() / f"{base.replace(':', '-')}.json"
        try:
            answer = json.loads(cached.read_text())
        except (OSError, ValueError):
            answer = self._ask_base()
            cached.parent.mkdir(parents=True, exist_ok=True)
            write_file(cached, json.dumps(answer).encode())
        return Platform(**answer, system="linux", base=base)

    def _ask_base(self) -> Any:
        names = self._names
        command = ["python3", "-I", "-c", _ASK_PLATFORM]
        config = helper_config(names, names.environment.base_image, command, [])
        return document(self._daemon.run(f"{names.prefix}-platform-{os.getpid()}", config))

    def has_build(self, build: str) -> bool:
        return self._daemon.image(self._names.build(build)) is not None

    def builds(self) -> list[str]:
        """Ids of the builds of this project that are there."""
        images = self._daemon.images({**self._names.project_labels, "dcops.build": ""})
        tags = [tag for each in images for tag in each.get("RepoTags") or ()]
        ours = self._names.build("")  # an image may have other tags, and stay under those
        return sorted({tag.removeprefix(ours) for tag in tags if tag.startswith(ours)})

    def remove_build(self, build: str) -> None:
        """Remove its image, and the dependencies that no other build stands on; what is in use stays."""
        self._daemon.remove_image(self._names.build(build))
        self._remove_unused_dependencies()

    def export(self, build: str, name: str, destination: Path) -> None:
        """Copy the implementation out of an image; an own Dockerfile may have put it on its Python path."""
        image = self._daemon.image(self._names.build(build))
        if image is None:
            raise build_missing(build)
        container = f"{self._names.prefix}-export-{os.urandom(4).hex()}"
        self._daemon.create(container, helper_config(self._names, image["Id"], ["true"], []))
        try:
            with tempfile.TemporaryFile() as packed:
                self._pack(container, [f"{each}/{name}" for each in _python_path(image)], packed)
                packed.seek(0)
                with tarfile.open(fileobj=packed, mode="r:") as archive:
                    unpack(archive, {name: destination})
            for compiled in list(destination.rglob("__pycache__")):
                shutil.rmtree(compiled)
        finally:
            self._daemon.remove(container)

    def _pack(self, container: str, places: list[str], packed: IO[bytes]) -> None:
        for place in places:
            with contextlib.suppress(Absent):
                self._daemon.archive(container, place, packed)
                return
        raise PreconditionMissing(
            "DC-RELEASE-FILES-MISSING",
            "the image does not hold the implementation's files in a place that is known",
            why=f"looked at {', '.join(places)}",
            do="in its Dockerfile, copy them to one of these",
        )

    def _remove_unused_dependencies(self) -> None:
        labels = {**self._names.project_labels, "dcops.dependencies": ""}
        images = self._daemon.images(labels)
        used = {each["Labels"]["dcops.dependencies"] for each in images if "dcops.build" in each["Labels"]}
        for image in images:
            if image["Labels"]["dcops.dependencies"] not in used:
                self._daemon.remove_image(image["Id"])

    def build(self, context: BuildContext, say: Say) -> None:
        """Make the release an image.

        Raises:
            OperationFailed: With cause ``build`` and the builder's last lines.
            PreconditionMissing: The base image, or what an own Dockerfile needs, is not there.
        """
        if self.has_build(context.build):
            return
        labels = {
            **self._names.project_labels,
            "dcops.build": context.build,
            "dcops.release": context.release,
        }
        tag = self._names.build(context.build)
        if context.dockerfile is not None:
            say("building by the implementation's own Dockerfile")
            _build_by_command(context.tree, context.dockerfile, tag, labels)
            return
        dependencies = self._dependencies(context, say)
        say("compiling the implementation in its image")
        try:
            self._make(release_recipe(dependencies, context, labels), tag)
        except BuildError as refused:
            self._daemon.prune_images(labels)
            raise build_failed(refused.lines) from refused

    def _dependencies(self, context: BuildContext, say: Say) -> str:
        names = self._names
        recipe = dependencies_recipe(
            names.environment.base_image, self._base()["Id"], context, names.project_labels
        )
        tag = names.image(f"dependencies-{recipe.key}")
        if self._daemon.image(tag) is None:
            say("packing the dependencies into an image")
            self._make_or_fail(recipe, tag)
        return tag

    def _proxy_image(self) -> str:
        """The proxy's image, made when it is not there; all projects of a daemon share it."""
        base = self._base()
        recipe = proxy_recipe(self._names.environment.base_image, base["Id"], caddy_version())
        tag = f"dcops-proxy:{recipe.key}"
        if self._daemon.image(tag) is None:
            machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(base["Architecture"], base["Architecture"])
            with scratch(self._names.project.root / ".dcops" / "tmp", "caddy") as place:
                self._make_or_fail(recipe.adding("caddy", caddy_binary(machine, place)), tag)
        return tag

    def _make_or_fail(self, recipe: Recipe, tag: str) -> None:
        try:
            self._make(recipe, tag)
        except BuildError as refused:
            raise build_failed(refused.lines) from refused

    def _make(self, recipe: Recipe, tag: str) -> None:
        with recipe.context() as stream:
            self._daemon.build(stream, tag)

    def _base(self) -> dict[str, Any]:
        name = self._names.environment.base_image
        found = self._daemon.image(name)
        if found is None:
            raise base_missing(name)
        return found


def _python_path(image: Mapping[str, Any]) -> list[str]:
    """The directories of an image where Python finds the implementation."""
    config = image["Config"]
    variables = dict(each.partition("=")[::2] for each in config.get("Env") or [])
    found = [config.get("WorkingDir") or "/", *variables.get("PYTHONPATH", "").split(":")]
    return list(dict.fromkeys(each.rstrip("/") for each in found if each.startswith("/")))


def base_missing(name: str) -> PreconditionMissing:
    return PreconditionMissing(
        "DC-BASE-IMAGE-MISSING",
        f"The base image {name} is not on this Docker engine.",
        why="dcops pulls nothing by itself",
        do="make docker (builds dcops-base:bookworm), or docker pull an image with Python and name it as "
        "base_image in environment.yaml.",
    )


def build_failed(lines: list[str]) -> OperationFailed:
    return OperationFailed(
        "DC-BUILD-FAILED",
        "The implementation could not be built.",
        cause="build",
        why="\n".join(_last_output(lines)[-20:]),
        do="Correct what the last lines name, then deploy again.",
    )


def _last_output(lines: list[str]) -> list[str]:
    """What the failing step itself said; the builder's own talk begins and ends it."""
    begins = max((at for at, line in enumerate(lines, 1) if line.startswith(" ---> Running in")), default=0)
    return [line for line in lines[begins:] if not line.startswith("Removing intermediate container")]


def _build_by_command(tree: Path, dockerfile: Path, tag: str, labels: Mapping[str, str]) -> None:
    """Own Dockerfiles may use what only BuildKit knows, and BuildKit is driven by the docker command.

    ``DOCKER_CONTEXT`` keeps the command at the daemon that the API uses.
    """
    command = ["docker", "build", "--tag", tag, "--file", str(dockerfile)]
    command += [f"--label={name}={value}" for name, value in labels.items()]
    environ = {
        "DOCKER_CONTEXT": "default",
        **os.environ,
        "DOCKER_BUILDKIT": "1",
        "BUILDKIT_PROGRESS": "plain",
    }
    try:
        done = subprocess.run([*command, str(tree)], env=environ, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise _buildkit_missing("there is no docker command") from error
    said = f"{done.stdout}\n{done.stderr}"
    if "buildx component is missing" in said:
        raise _buildkit_missing("the docker command has no buildx component")
    if done.returncode != 0:
        raise build_failed([line for line in said.splitlines() if line.strip()])


def _buildkit_missing(why: str) -> PreconditionMissing:
    return PreconditionMissing(
        "DC-BUILDKIT-MISSING",
        "The implementation's own Dockerfile cannot be built here.",
        why=why,
        do="Install the docker command with its buildx plugin (docker-buildx), or remove the Dockerfile: "
        "dcops has a built-in one.",
    )


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home, "dcops", "platforms")
