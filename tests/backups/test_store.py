from __future__ import annotations

import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from dcops.backups.manifest import canonical
from dcops.backups.store import BackupRepository
from dcops.core.backup import BackupContent
from dcops.core.ignore import Ignore
from dcops.errors import CheckFailed, NotFound, PreconditionMissing, UsageError
from dcops.releases.tree import scan

if TYPE_CHECKING:
    from pathlib import Path

MOMENT = 1_795_000_000.5  # 2026-11-18 11:06:40 UTC


@pytest.fixture
def repository(tmp_path: Path) -> BackupRepository:
    return BackupRepository(tmp_path / "backups")


@pytest.fixture
def content(tmp_path: Path) -> BackupContent:
    tree = tmp_path / "tree"
    (tree / "sub" / "empty").mkdir(parents=True)
    (tree / "run").write_bytes(b"#!/bin/sh\n")
    (tree / "run").chmod(0o750)
    (tree / "sub" / "big").write_bytes(os.urandom(3 << 20))
    (tree / "sub" / "nothing").touch(mode=0o600)
    (tree / "sub" / "link").symlink_to("../run")
    (tree / "name with é and \udcff").write_bytes(b"odd")
    (tree / "sub").chmod(0o700)
    return BackupContent(
        environment="dev",
        implementation=tree,
        environment_file=b"engine: auto\r\n",
        toggles_file=b"# none\n",
        release="ab" * 32,
        deployment={"number": 3},
        toggles={"loud": True},
        reason="before deploy",
    )


def shape(root: Path) -> dict[str, tuple[int, bytes]]:
    """Everything of a tree that a backup must keep."""
    found = {}
    for path in sorted(root.rglob("*")):
        mode = path.lstat().st_mode
        data = os.fsencode(path.readlink()) if path.is_symlink() else b""
        found[str(path.relative_to(root))] = (mode, path.read_bytes() if stat.S_ISREG(mode) else data)
    return found


def test_what_was_backed_up_comes_back_byte_for_byte(
    repository: BackupRepository, content: BackupContent, tmp_path: Path
) -> None:
    backup = repository.create(content, created=MOMENT)
    repository.verify(backup.id)
    restored = repository.extract(backup.id, tmp_path / "new" / "place")
    assert restored.implementation == tmp_path / "new" / "place" / "implementation"
    assert shape(restored.implementation) == shape(content.implementation)
    assert (restored.environment_file, restored.toggles_file) == (b"engine: auto\r\n", b"# none\n")
    assert (restored.release, restored.deployment, restored.toggles) == (
        "ab" * 32,
        {"number": 3},
        {"loud": True},
    )
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["place"]


def test_a_backup_says_what_it_is(repository: BackupRepository, content: BackupContent) -> None:
    backup = repository.create(content, created=MOMENT)
    assert backup.id == "backup_20261118_110640"
    assert (backup.environment, backup.reason, backup.created) == ("dev", "before deploy", MOMENT)
    assert backup.files == 7
    assert backup.stored > 3 << 20
    assert repository.list() == (backup,)
    assert stat.S_IMODE((repository.path / backup.id).stat().st_mode) == 0o700


def test_ids_are_never_used_again(repository: BackupRepository, content: BackupContent) -> None:
    ids = [repository.create(content, created=MOMENT).id for _ in range(3)]
    assert ids == [f"backup_20261118_110640{end}" for end in ("", "_2", "_3")]
    for path in sorted((repository.path / ids[2]).iterdir()):
        path.unlink()
    (repository.path / ids[2]).rmdir()
    assert repository.create(content, created=MOMENT).id == "backup_20261118_110640_4"


def test_ten_in_a_second_stay_in_order(
    repository: BackupRepository, content: BackupContent, tmp_path: Path
) -> None:
    (tmp_path / "tree" / "sub" / "big").unlink()
    made = [repository.create(content, created=MOMENT).id for _ in range(11)]
    assert [backup.id for backup in repository.list()] == made
    assert repository.get("latest").id == made[-1]


def test_several_at_once_all_succeed(repository: BackupRepository, content: BackupContent) -> None:
    threads = [
        threading.Thread(target=repository.create, args=(content,), kwargs={"created": MOMENT})
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(repository.list()) == 4
    for backup in repository.list():
        repository.verify(backup.id)


def test_a_backup_is_found_by_its_start(repository: BackupRepository, content: BackupContent) -> None:
    first = repository.create(content, created=MOMENT).id
    repository.create(content, created=MOMENT + 60)
    assert repository.get(first).id == first
    assert repository.get("backup_20261118_110640").id == first
    assert repository.get("20261118_110640").id == first
    with pytest.raises(UsageError) as ambiguous:
        repository.get("backup_2026")
    assert len(ambiguous.value.detail["backups"]) == 2
    with pytest.raises(NotFound) as caught:
        repository.get("backup_20261118_110641")
    assert caught.value.why == f"did you mean {first}?"


def test_the_last_one_and_the_one_before_it_have_names(
    repository: BackupRepository, content: BackupContent
) -> None:
    first = repository.create(content, created=MOMENT).id
    assert repository.get("latest").id == first
    with pytest.raises(NotFound, match="one backup only"):
        repository.get("previous")
    second = repository.create(content, created=MOMENT).id
    assert (repository.get("latest").id, repository.get("previous").id) == (second, first)


@pytest.fixture
def with_data(content: BackupContent, tmp_path: Path) -> BackupContent:
    """With sessions and workspace: what is in their tar file is no business of the repository."""
    data = tmp_path / "saved"
    data.write_bytes(b"said" * 500_000)
    return replace(content, data=data)


def test_sessions_and_workspace_come_back_only_when_they_are_asked_for(
    repository: BackupRepository, with_data: BackupContent, tmp_path: Path
) -> None:
    backup = repository.create(with_data, created=MOMENT)
    assert (backup.data, backup.data_bytes, backup.files) == (True, 2_000_000, 7)
    assert backup.bytes < 2 * (3 << 20)
    repository.verify(backup.id)
    without = repository.extract(backup.id, tmp_path / "without")
    assert without.data is None
    assert sorted(each.name for each in (tmp_path / "without").iterdir()) == [
        "environment.yaml",
        "implementation",
        "toggles.yaml",
    ]
    restored = repository.extract(backup.id, tmp_path / "whole", with_data=True)
    assert restored.data is not None
    assert restored.data.read_bytes() == b"said" * 500_000


@pytest.mark.parametrize("asked", [True, False], ids=["asked for", "left"])
def test_damaged_data_is_found_also_where_it_is_not_wanted(
    repository: BackupRepository, with_data: BackupContent, tmp_path: Path, *, asked: bool
) -> None:
    backup = repository.create(with_data, created=MOMENT)
    file = repository.path / backup.id / "content.tar.zst"
    data = bytearray(file.read_bytes())
    data[-40] ^= 1  # what is packed last
    file.write_bytes(data)
    with pytest.raises(PreconditionMissing) as caught:
        repository.extract(backup.id, tmp_path / "target", with_data=asked)
    assert caught.value.code == "DC-BACKUP-CORRUPT"
    assert not (tmp_path / "target").exists()


def test_a_backup_of_the_first_format_is_read(
    repository: BackupRepository, content: BackupContent, tmp_path: Path
) -> None:
    backup = repository.create(content, created=MOMENT)
    file = repository.path / backup.id / "manifest.json"
    manifest = json.loads(file.read_text()) | {"format": 1}
    del manifest["sha256"], manifest["backup"]["data"], manifest["backup"]["data_bytes"]
    file.write_text(json.dumps(manifest | {"sha256": hashlib.sha256(canonical(manifest)).hexdigest()}))
    [listed] = repository.list()
    assert replace(listed, stored=0) == replace(backup, stored=0)
    assert shape(repository.extract(backup.id, tmp_path / "new", with_data=True).implementation) == shape(
        content.implementation
    )


def test_a_backup_names_the_files_of_its_release(
    repository: BackupRepository, content: BackupContent
) -> None:
    backup = repository.create(content, created=MOMENT)
    assert repository.files(backup.id) == scan(content.implementation, Ignore([]))


def test_without_backups_nothing_is_found(repository: BackupRepository) -> None:
    assert repository.list() == ()
    for wanted in ("latest", "previous", "backup_20261118_110640", ""):
        with pytest.raises(NotFound, match="there is no backup yet"):
            repository.get(wanted)


def damage_content(directory: Path) -> None:
    data = bytearray((directory / "content.tar.zst").read_bytes())
    data[len(data) // 2] ^= 1
    (directory / "content.tar.zst").write_bytes(data)


def truncate_content(directory: Path) -> None:
    data = (directory / "content.tar.zst").read_bytes()
    (directory / "content.tar.zst").write_bytes(data[: len(data) // 2])


def edit_manifest(directory: Path) -> None:
    text = (directory / "manifest.json").read_text()
    (directory / "manifest.json").write_text(text.replace('"dev"', '"production"'))


@pytest.mark.parametrize(
    "damage",
    [
        damage_content,
        truncate_content,
        edit_manifest,
        lambda directory: (directory / "content.tar.zst").unlink(),
        lambda directory: (directory / "manifest.json").unlink(),
        lambda directory: (directory / "manifest.json").write_text("{"),
        lambda directory: (directory / "manifest.json").write_text("[]"),
        lambda directory: (directory / "content.tar.zst").write_bytes(b""),
    ],
    ids=["bit", "cut", "edited", "no content", "no manifest", "broken", "list", "empty"],
)
def test_a_damaged_backup_is_found_and_never_restored(
    repository: BackupRepository, content: BackupContent, tmp_path: Path, damage: object
) -> None:
    backup = repository.create(content, created=MOMENT)
    damage(repository.path / backup.id)
    with pytest.raises(CheckFailed) as failed:
        repository.verify(backup.id)
    with pytest.raises(PreconditionMissing) as refused:
        repository.extract(backup.id, tmp_path / "target")
    assert failed.value.code == refused.value.code == "DC-BACKUP-CORRUPT"
    assert not (tmp_path / "target").exists()
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".target")] == []
    assert [each.id for each in repository.list()] == [backup.id]


def test_every_flipped_bit_is_found(
    repository: BackupRepository, content: BackupContent, tmp_path: Path
) -> None:
    (tmp_path / "tree" / "sub" / "big").unlink()
    backup = repository.create(content, created=MOMENT)
    for name in ("content.tar.zst", "manifest.json"):
        file = repository.path / backup.id / name
        good = file.read_bytes()
        for position in range(0, len(good), 7):
            data = bytearray(good)
            data[position] ^= 1 << position % 8
            file.write_bytes(data)
            with pytest.raises((CheckFailed, PreconditionMissing)):
                repository.verify(backup.id)
        file.write_bytes(good)
    repository.verify(backup.id)


def test_a_damaged_manifest_is_listed_as_such(repository: BackupRepository, content: BackupContent) -> None:
    backup = repository.create(content, created=MOMENT)
    (repository.path / backup.id / "manifest.json").write_text("{")
    [listed] = repository.list()
    assert (listed.id, listed.damaged) == (backup.id, "its manifest is damaged")
    assert listed.created == int(MOMENT)


def test_a_newer_repository_is_refused(repository: BackupRepository, content: BackupContent) -> None:
    backup = repository.create(content)
    (repository.path / "repository.json").write_text('{"format": 2}')
    for use in (repository.list, lambda: repository.create(content), lambda: repository.get(backup.id)):
        with pytest.raises(PreconditionMissing) as caught:
            use()
        assert caught.value.code == "DC-STATE-NEWER"


def test_a_newer_backup_is_listed_as_such_and_refused(
    repository: BackupRepository, content: BackupContent, tmp_path: Path
) -> None:
    backup = repository.create(content)
    file = repository.path / backup.id / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 3}))
    assert "newer version" in repository.list()[0].damaged
    with pytest.raises(PreconditionMissing) as caught:
        repository.extract(backup.id, tmp_path / "target")
    assert caught.value.code == "DC-STATE-NEWER"


def test_a_repository_that_cannot_be_read_says_what_to_do(repository: BackupRepository) -> None:
    repository.path.mkdir()
    (repository.path / "repository.json").write_text("{")
    (repository.path / "backup_99999999_999999").mkdir()
    with pytest.raises(PreconditionMissing) as caught:
        repository.list()
    assert caught.value.code == "DC-STATE-DAMAGED"
    (repository.path / "repository.json").unlink()
    assert [(each.created, bool(each.damaged)) for each in repository.list()] == [(0.0, True)]


def test_a_failed_backup_leaves_nothing(repository: BackupRepository, content: BackupContent) -> None:
    os.mkfifo(content.implementation / "pipe")
    with pytest.raises(PreconditionMissing) as caught:
        repository.create(content)
    assert caught.value.code == "DC-BACKUP-FAILED"
    assert "pipe" in caught.value.why
    assert repository.list() == ()
    assert not [path for path in repository.path.iterdir() if path.name.startswith(".making")]


def test_extract_does_not_overwrite(
    repository: BackupRepository, content: BackupContent, tmp_path: Path
) -> None:
    backup = repository.create(content)
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "mine").touch()
    with pytest.raises(OSError, match="not empty"):
        repository.extract(backup.id, tmp_path / "target")
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["mine"]


KILLED = """
import os, sys
from pathlib import Path
from dcops.backups import store
from dcops.core.backup import BackupContent

points = int(sys.argv[3])
def dying(function):
    def call(*arguments, **keywords):
        global points
        points -= 1
        if points == 0:
            os.kill(os.getpid(), 9)
        return function(*arguments, **keywords)
    return call

for target, name in ((os, "fsync"), (os, "replace"), (os, "rename"), (os, "mkdir")):
    setattr(target, name, dying(getattr(target, name)))
content = BackupContent("dev", Path(sys.argv[2]), b"e", b"t", "r", {}, {})
store.BackupRepository(Path(sys.argv[1])).create(content)
"""


@pytest.mark.slow
def test_a_backup_killed_anywhere_is_whole_or_absent(
    repository: BackupRepository, content: BackupContent
) -> None:
    (content.implementation / "sub" / "big").unlink()
    for points in range(1, 60):
        arguments = [str(repository.path), str(content.implementation), str(points)]
        result = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False, timeout=60)
        for backup in repository.list():
            assert not backup.damaged
            repository.verify(backup.id)
        if result.returncode == 0:
            break
        assert result.returncode == -signal.SIGKILL
    assert points > 5
    repository.create(content)
    assert not [path for path in repository.path.iterdir() if path.name.startswith(".making")]
    ids = json.dumps([backup.id for backup in repository.list()])
    assert ids.count("backup_") == len(set(json.loads(ids)))
