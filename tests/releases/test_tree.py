from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dcops.core.release import TreeEntry, release_id
from dcops.errors import PreconditionMissing
from dcops.releases.context import load_release, materialise

if TYPE_CHECKING:
    from pathlib import Path

PINNED = "44fb0b6b6b069ce7a6be441fc0e044dfd41c0d856a06ece18487728b7edcbf30"
NAMES = st.text("abc.-_ é", min_size=1, max_size=5).filter(lambda name: name not in (".", ".."))


def test_the_id_depends_on_nothing_but_content(implementation: Path, tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        other = shutil.copytree(implementation, tmp_path / "else" / "where", symlinks=True)
    finally:
        os.umask(old)
    for path in [*other.rglob("*"), other]:
        if not path.is_symlink():
            path.chmod(0o700 if path.is_dir() or path.stat().st_mode & 0o100 else 0o600)
            os.utime(path, (1, 1))
    (other / "__pycache__").mkdir()
    (other / "__pycache__" / "x.pyc").write_bytes(b"x")
    (other / "empty").mkdir()
    assert load_release(other).id == load_release(implementation).id


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "__main__.py").write_text("pass \n"),
        lambda root: (root / "__main__.py").chmod(0o755),
        lambda root: (root / "__main__.py").rename(root / "main.py"),
        lambda root: (root / "new").touch(),
        lambda root: (root / "tools" / "run.sh").rename(root / "run.sh"),
        lambda root: ((root / "tools/again.sh").unlink(), (root / "tools/again.sh").symlink_to("./run.sh")),
        lambda root: (root / ".dcopsignore").write_text("tools\n"),
    ],
    ids=["content", "executable", "name", "new", "place", "link", "ignored"],
)
def test_every_change_of_content_changes_the_id(implementation: Path, change: object) -> None:
    before = load_release(implementation).id
    change(implementation)
    assert load_release(implementation).id != before


def test_ids_stay_the_same_between_versions() -> None:
    entries = [TreeEntry("b", executable=True, link=False, digest="1"), TreeEntry("a", False, True, "2")]
    assert release_id(entries) == release_id(entries[::-1]) == PINNED


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "tools/../../outside"])
def test_a_link_out_of_the_tree_is_refused(implementation: Path, target: str) -> None:
    (implementation / "link").symlink_to(target)
    with pytest.raises(PreconditionMissing, match="out of the implementation"):
        load_release(implementation)
    (implementation / ".dcopsignore").write_text("/link\n")
    assert "link" not in {entry.path for entry in load_release(implementation).files}


def test_a_pipe_is_refused_and_never_read(implementation: Path) -> None:
    os.mkfifo(implementation / "pipe")
    with pytest.raises(PreconditionMissing, match="socket, pipe or device"):
        load_release(implementation)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.dictionaries(NAMES, st.one_of(st.binary(max_size=20), st.dictionaries(NAMES, st.binary(max_size=9))))
)
def test_a_copy_is_the_same_release(tmp_path: Path, files: dict[str, bytes | dict[str, bytes]]) -> None:
    root, copy = tmp_path / "root", tmp_path / "copy"
    for left in (root, copy):
        shutil.rmtree(left, ignore_errors=True)
    root.mkdir()
    (root / "implementation.yaml").write_text("name: mine\ncommand: [run]\nlock: lock\n")
    (root / "lock").touch()
    for name, content in files.items():
        if isinstance(content, bytes):
            (root / name).write_bytes(content)
        else:
            (root / name).mkdir()
            for below, data in content.items():
                (root / name / below).write_bytes(data)
    if (root / "lock").is_file():
        assert materialise(root, copy) == load_release(root)


def test_a_copy_has_normal_modes_and_only_what_counts(implementation: Path, tmp_path: Path) -> None:
    (implementation / "__main__.py").chmod(0o600)
    (implementation / "notes.txt").touch()
    (implementation / ".dcopsignore").write_text("notes.txt\n")
    old = os.umask(0o077)
    try:
        release = materialise(implementation, tmp_path / "copy")
    finally:
        os.umask(old)
    copied = {str(path.relative_to(tmp_path / "copy")) for path in (tmp_path / "copy").rglob("*")}
    assert copied == {entry.path for entry in release.files} | {"tools"}
    modes = {path: (tmp_path / "copy" / path).stat().st_mode & 0o777 for path in ("", "tools", "__main__.py")}
    assert modes == {"": 0o755, "tools": 0o755, "__main__.py": 0o644}
    assert (tmp_path / "copy" / "tools" / "again.sh").is_symlink()
