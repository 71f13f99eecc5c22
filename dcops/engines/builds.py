"""Builds of the process engine: directories that hold an implementation, compiled.

A build refers to its dependencies, which many builds share, by path; without them it counts as absent.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dcops.engines.refusals import build_missing
from dcops.errors import OperationFailed
from dcops.files import alone

if TYPE_CHECKING:
    from dcops.core.protocols import BuildContext, Say


_NEW, _OLD = ".new-", ".old-"


@dataclass(frozen=True, slots=True)
class Builds:
    """The builds of a project in ``directory``, compiled by the interpreter that will run them."""

    directory: Path
    python: str

    def path(self, build: str) -> Path:
        return self.directory / build

    def dependencies(self, build: str) -> Path:
        """Directory of a build's dependencies; FileNotFoundError when there is no such build."""
        return Path(json.loads((self.path(build) / "build.json").read_bytes())["dependencies"])

    def has(self, build: str) -> bool:
        try:
            return self.dependencies(build).is_dir()
        except FileNotFoundError:
            return False

    def list(self) -> list[str]:
        return sorted(each.parent.name for each in self.directory.glob("[!.]*/build.json"))

    def make(self, context: BuildContext, say: Say) -> None:
        """Copy, compile, then rename: a build that is there is whole.

        Raises:
            OperationFailed: It does not compile.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        with alone(self.directory):
            for left in [*self.directory.glob(f"{_NEW}*"), *self.directory.glob(f"{_OLD}*")]:
                shutil.rmtree(left, ignore_errors=True)  # by one that was killed
            if not self.has(context.build):  # another deploy of the same release may have been faster
                self._make(context, say)

    def _make(self, context: BuildContext, say: Say) -> None:
        new = self.directory / f"{_NEW}{os.urandom(6).hex()}"
        try:
            shutil.copytree(context.tree, new / context.name, symlinks=True)
            say(f"compile {context.name} with Python")
            self._compile(new, context.name)
            about = {"format": 1, "release": context.release, "dependencies": str(context.dependencies)}
            (new / "build.json").write_text(json.dumps(about))
            _sync(new)
            self.remove(context.build)  # one that lost its dependencies
            new.rename(self.path(context.build))
            _flush(self.directory)
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def remove(self, build: str) -> None:
        going = self.directory / f"{_OLD}{os.urandom(6).hex()}"
        try:
            self.path(build).rename(going)
        except FileNotFoundError:
            return
        shutil.rmtree(going, ignore_errors=True)

    def export(self, build: str, name: str, destination: Path) -> None:
        """The implementation as it was before it was compiled."""
        source = self.path(build) / name
        if not source.is_dir():
            raise build_missing(build)
        shutil.copytree(source, destination, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))

    def _compile(self, directory: Path, name: str) -> None:
        # By content, not by time: the files never change, and a copy of the build stays valid.
        options = ["-q", "-f", "--invalidation-mode", "unchecked-hash"]
        done = subprocess.run(
            [self.python, "-I", "-m", "compileall", *options, name],
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            lines = [line for line in done.stdout.splitlines() if line.strip()]
            raise OperationFailed(
                "DC-BUILD-COMPILE",
                f"the implementation {name} does not compile",
                cause="build",
                why="\n".join(lines[-12:]),
                do="correct the file and deploy again",
                lines=lines[-12:],
            )


def _sync(tree: Path) -> None:
    for directory, _, files in os.walk(tree):
        for path in (Path(directory, file) for file in files):
            if not path.is_symlink():
                _flush(path)
        _flush(Path(directory))


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
