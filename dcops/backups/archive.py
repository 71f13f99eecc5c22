"""A tree of files as one compressed tar file with a sha256 for each member."""

from __future__ import annotations

import hashlib
import io
import os
import posixpath
import stat
import tarfile
from contextlib import nullcontext
from typing import IO, TYPE_CHECKING, Any, cast

from dcops.files import sync_directory

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

Member = dict[str, Any]
_CHUNK = 1 << 20


class CorruptError(ValueError):
    """An archive is not what its manifest says; the text says where."""


def pack(parts: Mapping[str, Path | bytes], file: IO[bytes]) -> list[Member]:
    """Write files and trees to an open file: modes, links and empty directories stay.

    Owners and times do not.

    Args:
        parts: What goes in by its name: the bytes of a file, or a directory with all that is in it.
        file: Binary, open for writing.

    Returns:
        The members for the manifest: path, type, mode, and size with sha256, or the link's target.

    Raises:
        OSError: A file cannot be read, or is neither file, link nor directory.
    """
    import zstandard  # noqa: PLC0415 - 15 ms, and a plan needs none of it

    members: list[Member] = []
    with (
        zstandard.ZstdCompressor(level=3, write_checksum=True).stream_writer(file, closefd=False) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name, part in parts.items():
            if isinstance(part, bytes):
                members.append(_add_file(tar, name, 0o644, len(part), io.BytesIO(part)))
            else:
                members += [_add(tar, place, f"{name}{path}") for path, place in _walk(part, "")]
    return members


def unpack(
    file: IO[bytes], members: list[Member], target: Path | None, *, leave: Collection[str] = ()
) -> None:
    """Read an archive and hold it against its manifest, writing it out when there is a target.

    Only what the manifest names is written, into directories that this call makes; links come last, so
    nothing is ever written through one.

    Args:
        file: Binary, open for reading.
        members: From the manifest.
        target: An empty directory, or None to check only.
        leave: Files that are only checked.

    Raises:
        CorruptError: Something differs, is missing, or leads out of the target.
    """
    import zstandard  # noqa: PLC0415 - 15 ms, and a plan needs none of it

    _check_paths(members)
    try:
        with (
            zstandard.ZstdDecompressor().stream_reader(file, closefd=False) as stream,
            tarfile.open(fileobj=stream, mode="r|") as tar,
        ):
            for member in members:
                _read_member(tar, member, None if member["path"] in leave else target)
            if tar.next() is not None:
                raise CorruptError("it holds more than its manifest names")
            stream.read()  # the rest, and with it the checksum of all
    except (zstandard.ZstdError, tarfile.TarError, EOFError) as error:
        raise CorruptError(f"its data is damaged: {error}") from None
    if target is not None:
        _finish(target, members)


def _walk(place: Path, path: str) -> Iterator[tuple[str, Path]]:
    """A directory and everything in it, each with its path from the directory."""
    yield path, place
    if stat.S_ISDIR(place.lstat().st_mode):
        for below in sorted(place.iterdir()):
            yield from _walk(below, f"{path}/{below.name}")


def _add(tar: tarfile.TarFile, place: Path, path: str) -> Member:
    item = place.lstat()
    mode = stat.S_IMODE(item.st_mode) & 0o777
    info = tarfile.TarInfo(path)
    info.mode = mode
    if stat.S_ISDIR(item.st_mode):
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
        return {"path": path, "type": "directory", "mode": mode}
    if stat.S_ISLNK(item.st_mode):
        info.type, info.linkname = tarfile.SYMTYPE, os.readlink(place)  # noqa: PTH115 - its exact text
        tar.addfile(info)
        return {"path": path, "type": "link", "mode": mode, "link": info.linkname}
    if not stat.S_ISREG(item.st_mode):
        raise OSError(f"{place} is neither file, link nor directory")
    with place.open("rb") as source:
        return _add_file(tar, path, mode, os.fstat(source.fileno()).st_size, source)


def _add_file(tar: tarfile.TarFile, path: str, mode: int, size: int, source: IO[bytes]) -> Member:
    info = tarfile.TarInfo(path)
    info.mode, info.size = mode, size
    reader = _HashingReader(source)
    tar.addfile(info, cast("IO[bytes]", reader))
    return {"path": path, "type": "file", "mode": mode, "size": size, "sha256": reader.hexdigest()}


class _HashingReader:
    """Hashes exactly the bytes that went into the archive."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self._hash.update(data)
        return data

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def _check_paths(members: list[Member]) -> None:
    seen: dict[str, str] = {"": "directory"}
    for member in members:
        path = str(member["path"])
        parent = posixpath.dirname(path)
        outside = path in ("", ".", "..") or path.startswith(("/", "../")) or "\0" in path
        if outside or path != posixpath.normpath(path):
            raise CorruptError(f"the path {path!r} is not safe")
        if path in seen or seen.get(parent) != "directory":
            raise CorruptError(f"the path {path!r} does not lie in a directory of its own tree")
        seen[path] = str(member["type"])


def _check_header(item: tarfile.TarInfo, member: Member) -> None:
    kind = "directory" if item.isdir() else "link" if item.issym() else "file" if item.isreg() else "other"
    expected = (member["path"], member["type"], member["mode"], member.get("size", 0), member.get("link", ""))
    if (item.name, kind, item.mode, item.size, item.linkname) != expected:
        raise CorruptError(f"{item.name} is not what the manifest says of {member['path']}")


def _read_member(tar: tarfile.TarFile, member: Member, target: Path | None) -> None:
    item = tar.next()
    if item is None:
        raise CorruptError(f"it ends before {member['path']}")
    _check_header(item, member)
    if member["type"] == "directory" and target is not None:
        (target / member["path"]).mkdir(mode=0o700)
    if member["type"] == "file":
        source = tar.extractfile(item)
        with nullcontext() if target is None else (target / member["path"]).open("xb") as copy:
            _read_file(source, member, copy)


def _read_file(source: IO[bytes] | None, member: Member, copy: IO[bytes] | None) -> None:
    hasher = hashlib.sha256()
    while source is not None and (chunk := source.read(_CHUNK)):
        hasher.update(chunk)
        if copy is not None:
            copy.write(chunk)
    if hasher.hexdigest() != member["sha256"]:
        raise CorruptError(f"the content of {member['path']} is damaged")
    if copy is not None:
        copy.flush()
        os.fchmod(copy.fileno(), member["mode"])
        os.fsync(copy.fileno())


def _finish(target: Path, members: list[Member]) -> None:
    for member in members:
        if member["type"] == "link":
            (target / member["path"]).symlink_to(member["link"])
    for member in reversed(members):  # the deepest first: a closed directory cannot be entered
        if member["type"] == "directory":
            sync_directory(target / member["path"])
            (target / member["path"]).chmod(member["mode"])
    sync_directory(target)
