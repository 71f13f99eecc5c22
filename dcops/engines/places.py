"""Where the process engine keeps things.

::

    .dcops/
      builds/<build>/          <name>/ (the implementation, compiled) and build.json; for all environments
      <environment>/
        engine.json            what was chosen once: the directory for sockets, the gateway's port
        control/               the control store, for proxy and dcops only
        instances/<id>/        the control files that an instance sees
        secrets/api-key        read by the proxy at each request
        keeper/                supervisord's configuration, log, pid; programs/ has two files for each
        proxy/                 Caddy's configuration and storage
        state/ workspace/      of all instances but the twins
        private/<id>/          an instance's temporary files, and a twin's throw-away state and workspace
        logs/                  proxy.log access.log instances/<id>.log; unless environment.yaml says otherwise

    $XDG_RUNTIME_DIR/dcops-<project>/<environment>/     else /tmp/dcops-<uid>-<project>/<environment>/
      keeper.sock  <id>/http.sock
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dcops.engines.ports import free_port
from dcops.engines.store import LocalStore
from dcops.errors import PreconditionMissing

if TYPE_CHECKING:
    from dcops.core.environment import Environment, Project

# A socket's path holds 107 bytes; the longest name here is an instance's.
ROOM = 107 - len(f"/{'i' * 31}/http.sock")
# What supervisord's or Caddy's configuration, or a glob, reads as something else.
UNUSABLE = frozenset(":{}[]*?\"'\\;#%\n\r")


@dataclass(frozen=True, slots=True)
class Places:
    """The directories of one environment; see the module."""

    project: Project
    environment: Environment

    @property
    def root(self) -> Path:
        return self.project.root / ".dcops" / self.environment.name

    @property
    def builds(self) -> Path:
        return self.project.root / ".dcops" / "builds"

    @property
    def logs(self) -> Path:
        named = self.environment.logs
        return self.root / "logs" if named == Path() else self.project.root / named

    def log(self, instance: str) -> Path:
        return self.logs / "instances" / f"{instance}.log"

    def private(self, instance: str) -> Path:
        return self.root / "private" / instance

    def socket(self, instance: str) -> Path:
        return self.sockets / instance / "http.sock"

    @property
    def data(self) -> dict[str, Path]:
        """What instances share, by name."""
        return {name: self.root / name for name in ("state", "workspace")}

    @property
    def sockets(self) -> Path:
        return Path(str(self._chosen()["sockets"]))

    @property
    def gateway_port(self) -> int:
        return int(self._chosen()["gateway_port"])

    def make(self) -> None:
        """Make the directories; those for sockets anew, as a restart of the machine takes them away.

        Raises:
            PreconditionMissing: The directory for sockets is somebody else's, or cannot be made.
        """
        for closed in ("control", "secrets", "keeper", "keeper/programs", "proxy", "private"):
            (self.root / closed).mkdir(parents=True, exist_ok=True, mode=0o700)
            (self.root / closed).chmod(0o700)
        for open_ in ("instances", "state", "workspace"):
            (self.root / open_).mkdir(exist_ok=True)
        (self.logs / "instances").mkdir(parents=True, exist_ok=True)
        if not (self.root / "engine.json").exists():
            chosen = json.dumps(self._chosen()).encode()
            LocalStore(self.root, self.root).write({"engine.json": chosen})
        _own(self.sockets.parent)
        _own(self.sockets)

    def check(self, *others: str) -> None:
        """Refuse names that the programs behind us cannot cope with, in our paths or in others'.

        Raises:
            PreconditionMissing: With the path.
        """
        for path in (str(self.root), str(self.logs), *others):
            bad = "".join(sorted(UNUSABLE & set(path)))
            if bad:
                raise PreconditionMissing(
                    "DC-PATH-UNUSABLE",
                    f"a path holds {bad!r}, which supervisord, Caddy or Python reads as something else",
                    why=path,
                    do="move it to a path without these characters",
                    path=path,
                )
        if len(os.fsencode(self.sockets)) > ROOM:
            raise PreconditionMissing(
                "DC-PATH-UNUSABLE",
                f"no socket can lie in {self.sockets}, as its path may hold 107 bytes",
                do="choose a shorter name for the environment",
                path=str(self.sockets),
            )

    def _sockets(self) -> Path:
        runtime = os.environ.get("XDG_RUNTIME_DIR", "")
        preferred = Path(runtime) / f"dcops-{self.project.id}" / self.environment.name
        if os.access(runtime, os.W_OK) and len(os.fsencode(preferred)) <= ROOM:
            return preferred
        return Path("/tmp") / f"dcops-{os.getuid()}-{self.project.id}" / self.environment.name  # noqa: S108

    def _chosen(self) -> dict[str, str | int]:
        """What was chosen at first: another login may have another runtime directory or free port."""
        with contextlib.suppress(FileNotFoundError):
            recorded: dict[str, str | int] = json.loads((self.root / "engine.json").read_bytes())
            return recorded
        port = free_port(f"gateway {self.project.id} {self.environment.name}")
        return {"format": 1, "sockets": str(self._sockets()), "gateway_port": port}


def delete(tree: Path) -> None:
    """Remove a tree, also where a tool has taken the right to write away from its owner."""
    for directory, names, _ in os.walk(tree):
        for path in (Path(directory, name) for name in names):
            if not path.is_symlink():
                path.chmod(0o700)
    shutil.rmtree(tree, ignore_errors=True)


def _own(directory: Path) -> None:
    """Make a directory of ours that nobody else enters, and prove that it is; /tmp is open to all."""
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        found = directory.lstat()
    except OSError as error:
        raise PreconditionMissing(
            "DC-SOCKETS-DIRECTORY",
            f"cannot make {directory}, the directory for sockets",
            why=error.strerror or str(error),
            do=f"make {directory.parent} writable; `loginctl enable-linger` keeps it between logins",
        ) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PreconditionMissing(
            "DC-SOCKETS-DIRECTORY",
            f"{directory} is not a directory that only you can enter",
            why=f"owner is user {found.st_uid}, mode is {stat.filemode(found.st_mode)}",
            do=f"remove it, or ask its owner to: ls -ld {directory}",
        )
