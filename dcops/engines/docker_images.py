"""Recipes of the images: a Dockerfile and the files it copies, as one tar stream for the daemon.

No host directory is ever mounted, so a remote daemon builds the same.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

from dcops.engines.docker_objects import INSTANCE_USER, PROXY_USER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dcops.core.protocols import BuildContext

_START_PROXY = Path(__file__).with_name("docker_start_proxy.py")

# Packages may carry files that are no Python of this version: a failure says nothing.
_COMPILE_DEPENDENCIES = """\
RUN python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/dependencies >/dev/null 2>&1 || true
"""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an image is made.

    Attributes:
        dockerfile: Its text.
        files: File or directory on this machine by its name in the context.
    """

    dockerfile: str
    files: Mapping[str, Path]

    @property
    def key(self) -> str:
        """16 hex digits of the text; what the files hold must stand in it by version or content key."""
        return hashlib.sha256(self.dockerfile.encode()).hexdigest()[:16]

    def adding(self, name: str, path: Path) -> Recipe:
        return replace(self, files={**self.files, name: path})

    def context(self) -> IO[bytes]:
        """The tar stream, at its beginning. Owners and odd modes of this machine stay out of it."""
        stream = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        with tarfile.open(fileobj=stream, mode="w") as archive:
            text = self.dockerfile.encode()
            entry = tarfile.TarInfo("Dockerfile")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text))
            for name, path in self.files.items():
                archive.add(path, name, filter=_normal)
        stream.seek(0)
        return stream


def _normal(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    if not entry.issym():
        entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
    return entry


def proxy_recipe(base: str, base_id: str, version: str) -> Recipe:
    """Caddy and Python, and the mount points with the owners that fresh volumes take from them.

    The binary is added (as ``caddy``) when the image has to be made.
    """
    start = hashlib.sha256(_START_PROXY.read_bytes()).hexdigest()
    dockerfile = f"""\
FROM {base}
LABEL dcops.role="proxy" dcops.caddy="{version}" dcops.base="{base_id}" dcops.start="{start}"
RUN install -d -m 0700 -o {PROXY_USER} -g {PROXY_USER} /control /secrets /data \\
 && install -d -m 0755 -o {PROXY_USER} -g {PROXY_USER} /instances \\
 && install -d -m 0700 -o {INSTANCE_USER} -g {INSTANCE_USER} /state /workspace /scratch
COPY caddy /usr/local/bin/caddy
COPY start.py /opt/dcops/start.py
ENTRYPOINT ["python3", "-I", "/opt/dcops/start.py"]
"""
    return Recipe(dockerfile, {"start.py": _START_PROXY})


def dependencies_recipe(base: str, base_id: str, context: BuildContext, labels: Mapping[str, str]) -> Recipe:
    """The layer that releases with the same lock file share; compiled here unless the host has done it."""
    compiled = any(context.dependencies.rglob("*.pyc"))
    dockerfile = f"""\
FROM {base}
LABEL {_labels({**labels, "dcops.base": base_id, "dcops.dependencies": context.dependencies_id})}
COPY dependencies /opt/dependencies
{"" if compiled else _COMPILE_DEPENDENCIES}\
ENV PATH=/opt/dependencies/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \\
    PYTHONPATH=/opt/build:/opt/dependencies PYTHONNOUSERSITE=1 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER {INSTANCE_USER}:{INSTANCE_USER}
"""
    return Recipe(dockerfile, {"dependencies": context.dependencies})


def release_recipe(dependencies: str, context: BuildContext, labels: Mapping[str, str]) -> Recipe:
    """The implementation above its dependencies, compiled where it will run."""
    dockerfile = f"""\
FROM {dependencies}
LABEL {_labels(labels)}
USER 0:0
COPY tree /opt/build/{context.name}
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /opt/build
# Not the workspace: Python would import what tools have written there.
WORKDIR /opt/build
USER {INSTANCE_USER}:{INSTANCE_USER}
"""
    return Recipe(dockerfile, {"tree": context.tree})


def _labels(labels: Mapping[str, str]) -> str:
    return " ".join(f'{name}="{value}"' for name, value in labels.items())
