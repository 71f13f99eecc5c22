"""Directories as one tar stream, and back: an environment's state; by the standard library alone.

This file runs in two places: imported, and as a script, when the Docker engine sends its text to
``python3 -c`` beside the volumes: ``save ROOTS SCRATCH`` writes the stream to stdout, ``load ROOTS SIZE``
reads so many bytes of it from stdin; ROOTS is a JSON object of directories. Its last word is a line of JSON
on stderr, ``{"left_out": [...]}`` or ``{"error": "text"}``.

tarfile's own filters are not used: Python 3.11.2 has none, and they change the text of links.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import posixpath
import shutil
import sqlite3
import stat
import sys
import tarfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LOADING = ".dcops-load"
FAILURES = (OSError, EOFError, ValueError, tarfile.TarError, sqlite3.Error)
LOCKED_SECONDS = 30.0
_BLOCK = 1 << 20
_LOCKED = frozenset({5, 6})  # SQLITE_BUSY and SQLITE_LOCKED; Python 3.10 has no names for them
_DATABASE = b"SQLite format 3\0"
_HEADER = 100
_COMPANIONS = ("-wal", "-shm", "-journal")
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})  # the last: a link has taken its place
_CLOSED = frozenset({errno.EACCES, errno.EPERM})


def save(roots: Mapping[str, Path], scratch: Path, stream: IO[bytes]) -> list[str]:
    """Write directories as an uncompressed tar archive, databases as they are at one moment.

    Instances may run: an SQLite database comes through SQLite's own backup, without its companions. Sockets,
    pipes and devices stay out.

    Args:
        roots: Directory by its name in the archive.
        scratch: A directory for the copy of one database.
        stream: Where the archive goes; it is only written.

    Returns:
        Names of what is not in it: closed to this user, or a link that leads out of its root.
    """
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        saving = _Saving(archive, scratch)
        for name, root in roots.items():
            saving.add(root, name)
        for name in roots:  # at last: an archive that was cut does not have them
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.DIRTYPE
            archive.addfile(entry)
    return saving.left_out


class _Saving:
    def __init__(self, archive: tarfile.TarFile, scratch: Path) -> None:
        self._archive = archive
        self._copy = scratch / "database"
        self._companions: set[Path] = set()
        self.left_out: list[str] = []

    def add(self, root: Path, name: str) -> None:
        """Everything in a directory; what goes meanwhile was never there."""
        # Backwards, as the last one is taken first: a database has to come before its companions.
        waiting = sorted((each for each in root.iterdir() if each.name != LOADING), reverse=True)
        while waiting:
            place = waiting.pop()
            path = place.relative_to(root).as_posix()
            try:
                waiting += sorted(self._add_one(place, f"{name}/{path}", path), reverse=True)
            except OSError as error:
                if error.errno in _CLOSED:
                    self.left_out.append(f"{name}/{path}")
                elif error.errno not in _GONE:
                    raise

    def _add_one(self, place: Path, name: str, path: str) -> list[Path]:
        """Add it; what a directory holds is still to be added."""
        item = place.lstat()
        entry = tarfile.TarInfo(name)
        entry.mode, entry.mtime = stat.S_IMODE(item.st_mode), int(item.st_mtime)
        if stat.S_ISDIR(item.st_mode):
            inside = list(place.iterdir())
            entry.type = tarfile.DIRTYPE
            self._archive.addfile(entry)
            return inside
        if stat.S_ISLNK(item.st_mode):
            entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(place)  # noqa: PTH115 - its exact text
            if _leads_out(path, entry.linkname):
                self.left_out.append(name)
            else:
                self._archive.addfile(entry)
        elif stat.S_ISREG(item.st_mode) and place not in self._companions:
            self._add_file(place, entry)
        return []

    def _add_file(self, place: Path, entry: tarfile.TarInfo) -> None:
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if _is_database(file.read(_HEADER)) and self._copied(place):
                with self._copy.open("rb") as copy:
                    self._add_content(copy, entry)
                self._copy.unlink()
                self._companions.update(place.with_name(place.name + each) for each in _COMPANIONS)
            else:
                file.seek(0)
                self._add_content(file, entry)

    def _copied(self, place: Path) -> bool:
        """Whether SQLite could copy it; else it is broken, and a file like others."""
        uri = f"file:{quote(os.fsencode(place))}?mode=rw"
        deadline = time.monotonic() + LOCKED_SECONDS

        def look(status: int, _left: int, _total: int) -> None:
            if status in _LOCKED and time.monotonic() > deadline:  # else it would be tried for ever
                raise PermissionError(errno.EACCES, "somebody holds it locked", str(place))

        try:
            with (
                contextlib.closing(sqlite3.connect(uri, uri=True, timeout=1)) as source,
                contextlib.closing(sqlite3.connect(self._copy)) as copy,
            ):
                source.backup(copy, progress=look)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            self._copy.unlink(missing_ok=True)
            return False
        return True

    def _add_content(self, file: IO[bytes], entry: tarfile.TarInfo) -> None:
        entry.size = os.fstat(file.fileno()).st_size
        self._archive.addfile(entry, _Padded(file))  # type: ignore[arg-type]


def _is_database(header: bytes) -> bool:
    """By all that is the same in every one: SQLite removes what lies beside a file that only begins so."""
    return len(header) == _HEADER and header.startswith(_DATABASE) and header[21:24] == b"\x40\x20\x20"


class _Padded:
    """A file that gives as many bytes as it is asked for: zeros where it was cut meanwhile."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        return self._file.read(size).ljust(size, b"\0")


class _Whole:
    """So many bytes of a stream that has no end of its own; one that ends before is no archive."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream = stream
        self._left = size

    def read(self, size: int) -> bytes:
        wanted = min(size, self._left)
        self._left -= wanted
        data = self._stream.read(wanted)
        if len(data) < wanted:
            raise EOFError
        return data


def load(roots: Mapping[str, Path], stream: IO[bytes]) -> None:
    """Make directories hold what was saved, and nothing else; no instance may run.

    All is unpacked beside the old content before that goes; after a crash between, load again.

    Args:
        roots: Directory by its name in the archive; they stay, their content does not.
        stream: The archive; it is only read.

    Raises:
        ValueError: It is not what `save` has written; nothing was changed.
    """
    fresh = {name: root / LOADING for name, root in roots.items()}
    try:
        for place in fresh.values():
            _remove(place)
            place.mkdir(mode=0o700)
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            found = unpack(archive, fresh)
        _require_whole(fresh, found)
    except BaseException:
        for place in fresh.values():
            _remove(place)
        raise
    os.sync()  # before the old content goes; one for all, as thousands of files would take a minute
    for name, root in roots.items():
        _replace(root, fresh[name])


def _require_whole(fresh: Mapping[str, Path], found: set[str]) -> None:
    if missing := sorted(fresh.keys() - found):
        raise ValueError(f"the archive does not have {', '.join(missing)}, or was cut")
    for place in fresh.values():
        if os.path.lexists(place / LOADING):
            raise ValueError(f"refused name in the archive: {LOADING}")


def _replace(root: Path, fresh: Path) -> None:
    for old in root.iterdir():
        if old != fresh:
            _remove(old)
    for new in fresh.iterdir():
        new.rename(root / new.name)
    fresh.rmdir()
    os.sync()


def _remove(place: Path) -> None:
    """Remove a tree, also where a tool has taken the right to write away from its owner."""
    if place.is_symlink() or not place.is_dir():
        place.unlink(missing_ok=True)
        return
    place.chmod(0o700)
    for directory, names, _ in os.walk(place):
        for each in (Path(directory, name) for name in names):
            if not each.is_symlink():
                each.chmod(0o700)
    shutil.rmtree(place)


def unpack(archive: tarfile.TarFile, roots: Mapping[str, Path]) -> set[str]:
    """Write what an archive holds, with its permissions and times, owned by whoever unpacks.

    Args:
        archive: One that may be read only once.
        roots: Fresh directory by the first component of the names.

    Returns:
        First components that have an entry of their own.

    Raises:
        ValueError: A name or a link that leads out of its root, or what is neither file, link nor directory.
        OSError: As the system says.
    """
    links: list[tuple[Path, str]] = []
    found: set[str] = set()
    for entry in archive:
        name, path = _inside(roots, entry.name)
        place = roots[name] / path
        if not path:
            found.add(name)
        if entry.isdir():
            place.mkdir(parents=True, exist_ok=True)
            place.chmod(entry.mode & 0o777 | 0o700)
        elif entry.issym():
            if _leads_out(path, entry.linkname):
                raise ValueError(f"a link that leads out: {entry.name!r} to {entry.linkname!r}")
            links.append((place, entry.linkname))
        elif entry.isreg():
            place.parent.mkdir(parents=True, exist_ok=True)
            _write(archive, entry, place)
        else:
            raise ValueError(f"neither file, link nor directory: {entry.name!r}")
    # At last: so nothing is ever written through a link.
    for place, target in links:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)
    return found


def _inside(roots: Mapping[str, Path], name: str) -> tuple[str, str]:
    first, *rest = name.rstrip("/").split("/")
    if first not in roots or any(part in ("", ".", "..") for part in rest) or "\0" in name:
        raise ValueError(f"refused name: {name!r}")
    return first, "/".join(rest)


def _leads_out(path: str, target: str) -> bool:
    led = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    return led == ".." or led.startswith(("/", "../"))


def _write(archive: tarfile.TarFile, entry: tarfile.TarInfo, place: Path) -> None:
    content = archive.extractfile(entry)
    with place.open("xb") as file:
        if content is not None:
            shutil.copyfileobj(content, file, _BLOCK)
        os.fchmod(file.fileno(), entry.mode & 0o777)
    os.utime(place, (entry.mtime, entry.mtime))


@contextlib.contextmanager
def created(path: Path) -> Iterator[IO[bytes]]:
    """A new file: synced, or gone again when it was not finished."""
    with path.open("xb") as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def main() -> None:
    verb, roots, last = sys.argv[1:]
    places = {name: Path(path) for name, path in json.loads(roots).items()}
    said: dict[str, Any] = {"left_out": []}
    try:
        if verb == "save":
            said["left_out"] = save(places, Path(last), sys.stdout.buffer)
            sys.stdout.flush()
        else:
            load(places, _Whole(sys.stdin.buffer, int(last)))  # type: ignore[arg-type]
    except FAILURES as error:
        said = {"error": f"{type(error).__name__}: {error}"}
    sys.stderr.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main()
