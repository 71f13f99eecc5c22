"""The only reader and writer of a backup repository.

    repository.json              {"format": 1}
    ids/<id>                     empty; an id is taken by making its file, and never given back
    <id>/manifest.json           what the backup is, and each member with its sha256
    <id>/content.tar.zst         the members; `tar --zstd -xf` reads it too

A backup is made beside and renamed in, so one that is killed is never seen.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import json
import os
import shutil
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from dcops.backups.archive import CorruptError, pack, unpack
from dcops.core.backup import (
    Backup,
    BackupContent,
    Restored,
    backup_id,
    choose,
    created_of,
    is_backup_id,
    sort_key,
)
from dcops.errors import CheckFailed, DcopsError, PreconditionMissing
from dcops.files import sync_directory, write_file

if TYPE_CHECKING:
    from collections.abc import Iterator

_FORMAT = 1
_MAKING = ".making."


@dataclass(frozen=True, slots=True)
class BackupRepository:
    """A directory of backups."""

    path: Path

    def create(self, content: BackupContent, *, created: float | None = None) -> Backup:
        """Make a backup; it is there whole and synced when this returns, or not at all.

        Args:
            content: What to keep.
            created: Seconds since the epoch; now when absent.

        Raises:
            PreconditionMissing: A file cannot be read or there is no space (DC-BACKUP-FAILED).
        """
        created = time.time() if created is None else created
        try:
            with self._only_writer(), tempfile.TemporaryDirectory(prefix=_MAKING, dir=self.path) as name:
                staging = Path(name)
                backup = self._fill(staging, content, created)
                # The name of a temporary directory must stay for its removal, so what it holds moves.
                (staging / backup.id).rename(self.path / backup.id)
                sync_directory(self.path)
        except OSError as error:
            raise PreconditionMissing(
                "DC-BACKUP-FAILED",
                f"no backup could be made in {self.path}",
                why=str(error),
                do="see that the place is writable, has space, and that the files can be read",
            ) from None
        return self._describe(backup.id)

    def list(self) -> tuple[Backup, ...]:
        """All backups, oldest first; those with a damaged manifest are marked, not left out."""
        if not self.path.is_dir():
            return ()
        self._check_format()
        names = [each.name for each in self.path.iterdir() if is_backup_id(each.name)]
        return tuple(self._describe(name) for name in sorted(names, key=sort_key))

    def get(self, wanted: str) -> Backup:
        """The backup of an id, of the start of one, or ``latest``.

        Raises:
            NotFound: There is none (DC-BACKUP-UNKNOWN).
            UsageError: Several ids start so (DC-BACKUP-AMBIGUOUS).
        """
        return choose(wanted, self.list())

    def verify(self, identity: str) -> None:
        """Read all of a backup.

        Raises:
            CheckFailed: It is not what was stored (DC-BACKUP-CORRUPT).
        """
        with self._content(identity, CheckFailed) as (file, manifest):
            unpack(file, manifest["members"], None)

    def extract(self, identity: str, target: Path) -> Restored:
        """Write a backup's content out, checked while it is written.

        Args:
            identity: Id of a backup.
            target: Directory that does not exist yet; it is there whole afterwards, or not at all.

        Raises:
            PreconditionMissing: The backup is damaged (DC-BACKUP-CORRUPT).
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as name:
            staging = Path(name) / "content"
            staging.mkdir()
            with self._content(identity, PreconditionMissing) as (file, manifest):
                unpack(file, manifest["members"], staging)
            staging.rename(target)
        sync_directory(target.parent)
        return Restored(
            implementation=target / "implementation",
            environment_file=(target / "environment.yaml").read_bytes(),
            toggles_file=(target / "toggles.yaml").read_bytes(),
            release=manifest["backup"]["release"],
            deployment=manifest["backup"]["deployment"],
            toggles=manifest["backup"]["toggles"],
        )

    def _fill(self, staging: Path, content: BackupContent, created: float) -> Backup:
        parts: dict[str, Path | bytes] = {
            "environment.yaml": content.environment_file,
            "toggles.yaml": content.toggles_file,
            "implementation": content.implementation,
        }
        with (staging / "content").open("xb") as file:
            members = pack(parts, file)
            file.flush()
            os.fsync(file.fileno())
        identity = self._take_id(created)
        files = [member for member in members if member["type"] != "directory"]
        backup = Backup(
            id=identity,
            created=created,
            environment=content.environment,
            reason=content.reason,
            release=content.release,
            files=len(files),
            bytes=sum(member.get("size", 0) for member in files),
            deployment=content.deployment,
            toggles=content.toggles,
        )
        manifest = {"format": _FORMAT, "backup": _stored(backup), "members": members}
        directory = staging / identity
        directory.mkdir(mode=0o700)
        (staging / "content").rename(directory / "content.tar.zst")
        write_file(
            directory / "manifest.json", _canonical(manifest | {"sha256": _digest(manifest)}), mode=0o600
        )
        return backup

    def _take_id(self, created: float) -> str:
        ids = self.path / "ids"
        ids.mkdir(exist_ok=True)
        for number in itertools.count(1):
            identity = backup_id(created, number)
            try:
                (ids / identity).touch(exist_ok=False)
            except FileExistsError:
                continue
            if not (self.path / identity).exists():  # somebody may have deleted the ids
                break
        sync_directory(ids)
        return identity

    @contextmanager
    def _only_writer(self) -> Iterator[None]:
        """One writer at a time; what an earlier one left half made is removed."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel frees it when its holder dies
            self._check_format()
            if not (self.path / "repository.json").exists():
                write_file(self.path / "repository.json", _canonical({"format": _FORMAT}))
            for left in self.path.glob(f"{_MAKING}*"):
                shutil.rmtree(left, ignore_errors=True)
            yield

    def _check_format(self) -> None:
        file = self.path / "repository.json"
        try:
            version = json.loads(file.read_bytes())["format"]
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise PreconditionMissing(
                "DC-STATE-DAMAGED",
                f"{file} cannot be read",
                why=str(error),
                do=f'restore it; its content is {{"format":{_FORMAT}}}',
            ) from None
        if version != _FORMAT:
            raise _newer(self.path, version)

    def _describe(self, identity: str) -> Backup:
        try:
            fields = self._manifest(identity)["backup"]
            stored = sum(each.stat().st_size for each in (self.path / identity).iterdir())
            return Backup(**fields, stored=stored)
        except (OSError, CorruptError, TypeError, DcopsError) as error:
            return Backup(identity, created_of(identity), damaged=str(error))

    def _manifest(self, identity: str) -> dict[str, Any]:
        try:
            manifest = json.loads((self.path / identity / "manifest.json").read_bytes())
            version, digest = manifest["format"], manifest.pop("sha256")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise CorruptError("its manifest is damaged") from None
        if version != _FORMAT:
            raise _newer(self.path / identity, version)
        if digest != _digest(manifest) or manifest["backup"]["id"] != identity:
            raise CorruptError("its manifest is damaged")
        return dict(manifest)

    @contextmanager
    def _content(
        self, identity: str, error_class: type[CheckFailed | PreconditionMissing]
    ) -> Iterator[tuple[IO[bytes], dict[str, Any]]]:
        self.get(identity)
        try:
            manifest = self._manifest(identity)
            with (self.path / identity / "content.tar.zst").open("rb") as file:
                yield file, manifest
        except (CorruptError, OSError) as error:
            raise error_class(
                "DC-BACKUP-CORRUPT",
                f"the backup {identity} is damaged",
                why=str(error),
                do="use another one: dcops backup list",
                backup=identity,
            ) from None


def _stored(backup: Backup) -> dict[str, Any]:
    return {name: value for name, value in asdict(backup).items() if name not in ("stored", "damaged")}


def _canonical(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _digest(document: dict[str, Any]) -> str:
    return hashlib.sha256(_canonical(document)).hexdigest()


def _newer(path: Path, version: Any) -> PreconditionMissing:
    return PreconditionMissing(
        "DC-STATE-NEWER",
        f"{path} was written by a newer version of dcops",
        why=f"its format is {version}, this version knows {_FORMAT}",
        do="use the newer version of dcops",
    )
