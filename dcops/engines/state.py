"""Directories as tar streams, by the standard library alone, confined on their way out."""

from __future__ import annotations

import os
import posixpath
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tarfile
    from collections.abc import Mapping
    from pathlib import Path


def unpack(archive: tarfile.TarFile, roots: Mapping[str, Path]) -> None:
    """Write what an archive holds, with its permissions and times, owned by whoever unpacks.

    tarfile's own filter would change the text of links, and Python 3.11.2 has none.

    Args:
        archive: One that may be read only once.
        roots: Fresh directory by the first component of the names.

    Raises:
        ValueError: A name or a link that leads out of its root, or what is neither file, link nor directory.
        OSError: As the system says.
    """
    links: list[tuple[Path, str]] = []
    for entry in archive:
        root, path = _inside(roots, entry.name)
        place = root / path
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


def _inside(roots: Mapping[str, Path], name: str) -> tuple[Path, str]:
    first, *rest = name.rstrip("/").split("/")
    if first not in roots or any(part in ("", ".", "..") for part in rest) or "\0" in name:
        raise ValueError(f"refused name: {name!r}")
    return roots[first], "/".join(rest)


def _leads_out(path: str, target: str) -> bool:
    led = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    return led == ".." or led.startswith(("/", "../"))


def _write(archive: tarfile.TarFile, entry: tarfile.TarInfo, place: Path) -> None:
    content = archive.extractfile(entry)
    with place.open("xb") as file:
        if content is not None:
            shutil.copyfileobj(content, file, 1 << 20)
        os.fchmod(file.fileno(), entry.mode & 0o777)
        file.flush()
        os.fsync(file.fileno())
    os.utime(place, (entry.mtime, entry.mtime))
