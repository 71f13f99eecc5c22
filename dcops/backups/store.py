"""The only reader and writer of a backup repository.

    repository.json              {"format": 1}
    ids/<id>                     empty; an id is taken by making its file, and never given back
    <id>/manifest.json           what the backup is, and each member with its sha256
    <id>/content.tar.zst         the members; `tar --zstd -xf` reads it too; sessions and workspace are a
                                 tar file among them

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
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from dcops.backups.archive import CorruptError, Member, pack, unpack
from dcops.backups.manifest import canonical, newer, read_manifest, write_manifest
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
from dcops.core.release import TreeEntry
from dcops.errors import CheckFailed, PreconditionMissing
from dcops.files import sync_directory, write_file

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMAT = 1
DATA = "state.tar"
IMPLEMENTATION = "implementation"
_Content = tuple[Backup, list[Member], IO[bytes]]
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
                identity = self._fill(Path(name), content, created)
                (Path(name) / identity).rename(self.path / identity)
                sync_directory(self.path)
        except OSError as error:
            raise PreconditionMissing(
                "DC-BACKUP-FAILED",
                f"no backup could be made in {self.path}",
                why=str(error),
                do="see that the place is writable, has space, and that the files can be read",
            ) from None
        return self._describe(identity)

    def list(self) -> tuple[Backup, ...]:
        """All backups, oldest first; those with a damaged manifest are marked, not left out."""
        if not self.path.is_dir():
            return ()
        self._check_format()
        names = [each.name for each in self.path.iterdir() if is_backup_id(each.name)]
        return tuple(self._describe(name) for name in sorted(names, key=sort_key))

    def get(self, wanted: str) -> Backup:
        """The backup of an id, of the start of one, ``latest`` or ``previous``.

        Raises:
            NotFound: There is none (DC-BACKUP-UNKNOWN).
            UsageError: Several ids start so (DC-BACKUP-AMBIGUOUS).
        """
        return choose(wanted, self.list())

    def verify(self, identity: str) -> None:
        """Read all of a backup.

        Raises:
            NotFound: There is no such backup (DC-BACKUP-UNKNOWN).
            CheckFailed: It is not what was stored (DC-BACKUP-CORRUPT).
        """
        with self._content(identity, CheckFailed) as (_, members, file):
            unpack(file, members, None)

    def files(self, identity: str) -> tuple[TreeEntry, ...]:
        """The implementation's files in a backup, as its manifest names them.

        Raises:
            NotFound: There is no such backup (DC-BACKUP-UNKNOWN).
            PreconditionMissing: The backup is damaged (DC-BACKUP-CORRUPT).
        """
        with self._content(identity, PreconditionMissing) as (_, members, _file):
            files = [each for each in members if each["type"] != "directory"]
            return tuple(_entry(each) for each in files if each["path"].startswith(f"{IMPLEMENTATION}/"))

    def extract(self, identity: str, target: Path, *, with_data: bool = False) -> Restored:
        """Write a backup's content out; all of it is checked while it is read.

        Args:
            identity: Id of a backup.
            target: Directory that does not exist yet; it is there whole afterwards, or not at all.
            with_data: Write out sessions and workspace too, as their tar file.

        Raises:
            NotFound: There is no such backup (DC-BACKUP-UNKNOWN).
            PreconditionMissing: The backup is damaged (DC-BACKUP-CORRUPT).
            OSError: The target cannot be written.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as name:
            staging = Path(name) / "content"
            staging.mkdir()
            with self._content(identity, PreconditionMissing) as (backup, members, file):
                unpack(file, members, staging, leave=() if with_data else {DATA})
            staging.rename(target)
        sync_directory(target.parent)
        return Restored(
            implementation=target / IMPLEMENTATION,
            environment_file=(target / "environment.yaml").read_bytes(),
            toggles_file=(target / "toggles.yaml").read_bytes(),
            release=backup.release,
            deployment=backup.deployment,
            toggles=backup.toggles,
            data=target / DATA if with_data and backup.data else None,
        )

    def _fill(self, staging: Path, content: BackupContent, created: float) -> str:
        parts: dict[str, Path | bytes] = {
            "environment.yaml": content.environment_file,
            "toggles.yaml": content.toggles_file,
            IMPLEMENTATION: content.implementation,
        }
        if content.data is not None:
            parts[DATA] = content.data
        with (staging / "content").open("xb") as file:
            members = pack(parts, file)
            file.flush()
            os.fsync(file.fileno())
        identity = self._take_id(created)
        data = [member for member in members if member["path"] == DATA]
        files = [member for member in members if member["type"] != "directory" and member not in data]
        backup = Backup(
            id=identity,
            created=created,
            environment=content.environment,
            reason=content.reason,
            release=content.release,
            files=len(files),
            bytes=sum(member.get("size", 0) for member in files),
            data=bool(data),
            data_bytes=sum(member["size"] for member in data),
            left_out=content.left_out,
            deployment=content.deployment,
            toggles=content.toggles,
        )
        (staging / identity).mkdir(mode=0o700)
        (staging / "content").rename(staging / identity / "content.tar.zst")
        write_manifest(staging / identity, backup, members)
        return identity

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
                write_file(self.path / "repository.json", canonical({"format": FORMAT}))
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
                do=f'restore it; its content is {{"format":{FORMAT}}}',
            ) from None
        if version != FORMAT:
            raise newer(self.path, version, FORMAT)

    def _describe(self, identity: str) -> Backup:
        try:
            return read_manifest(self.path / identity)[0]
        except (CorruptError, PreconditionMissing) as error:
            return Backup(identity, created_of(identity), damaged=str(error))

    @contextmanager
    def _content(
        self, identity: str, error_class: type[CheckFailed | PreconditionMissing]
    ) -> Iterator[_Content]:
        """A backup, its members and its open archive; what is corrupt in them becomes an error for users."""
        identity = self.get(identity).id
        try:
            backup, members = read_manifest(self.path / identity)
            with self._open(identity) as file:
                yield backup, members, file
        except CorruptError as error:
            raise error_class(
                "DC-BACKUP-CORRUPT",
                f"the backup {identity} is damaged",
                why=str(error),
                do="use another one: dcops backup list",
                backup=identity,
            ) from None

    def _open(self, identity: str) -> IO[bytes]:
        try:
            return (self.path / identity / "content.tar.zst").open("rb")
        except OSError as error:
            raise CorruptError(f"its content cannot be read: {error.strerror}") from None


def _entry(member: Member) -> TreeEntry:
    path, link = member["path"].removeprefix(f"{IMPLEMENTATION}/"), member["type"] == "link"
    digest = hashlib.sha256(os.fsencode(member["link"])).hexdigest() if link else member["sha256"]
    return TreeEntry(path, executable=not link and bool(member["mode"] & 0o100), link=link, digest=digest)
