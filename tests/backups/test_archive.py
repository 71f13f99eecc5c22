from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from dcops.backups.archive import CorruptError, Member, pack, unpack

if TYPE_CHECKING:
    from pathlib import Path


def packed(tree: Path) -> tuple[io.BytesIO, list[Member]]:
    file = io.BytesIO()
    members = pack({"a.yaml": b"text", "tree": tree}, file)
    file.seek(0)
    return file, members


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    (tmp_path / "tree" / "sub" / "file").write_bytes(b"content")
    (tmp_path / "tree" / "sub" / "link").symlink_to("/etc/passwd")
    return tmp_path / "tree"


@pytest.mark.parametrize(
    "path",
    [
        "../out",
        "/etc/out",
        "tree/../../out",
        "tree/sub/link/out",
        "",
        ".",
        "tree//x",
        "tree/sub/link",
        "no/x",
    ],
)
def test_a_path_that_leads_out_is_refused_before_anything_is_written(
    tree: Path, tmp_path: Path, path: str
) -> None:
    file, members = packed(tree)
    forged = [*members, members[0] | {"path": path}]
    (tmp_path / "target").mkdir()
    with pytest.raises(CorruptError):
        unpack(file, forged, tmp_path / "target")
    assert list((tmp_path / "target").iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"path": "tree/sub/other"},
        {"mode": 0o777},
        {"size": 3},
        {"sha256": "0" * 64},
        {"type": "directory"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_member_that_differs_from_its_manifest_is_refused(tree: Path, change: dict[str, object]) -> None:
    file, members = packed(tree)
    at = next(index for index, member in enumerate(members) if member["path"] == "tree/sub/file")
    members[at] = members[at] | change
    with pytest.raises(CorruptError):
        unpack(file, members, None)


def test_members_more_or_fewer_than_the_manifest_names_are_refused(tree: Path) -> None:
    file, members = packed(tree)
    with pytest.raises(CorruptError, match="more than"):
        unpack(file, members[:-1], None)
    file.seek(0)
    with pytest.raises(CorruptError, match="ends before"):
        unpack(file, [*members, members[0] | {"path": "tree/z"}], None)


def test_a_closed_directory_is_restored_with_its_files(tree: Path, tmp_path: Path) -> None:
    (tree / "sub").chmod(0o555)
    file, members = packed(tree)
    (tmp_path / "target").mkdir()
    unpack(file, members, tmp_path / "target")
    assert (tmp_path / "target" / "tree" / "sub" / "file").read_bytes() == b"content"
    assert (tmp_path / "target" / "tree" / "sub").stat().st_mode & 0o777 == 0o555
