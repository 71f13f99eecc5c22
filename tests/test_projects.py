from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from dcops.errors import PreconditionMissing
from dcops.projects import find_project, record_project


def make(root: Path) -> Path:
    (root / "environments").mkdir(parents=True)
    return root


def test_the_nearest_directory_above_is_found(tmp_path: Path) -> None:
    root = make(tmp_path / "My Agent 2")
    below = root / "a" / "b"
    below.mkdir(parents=True)
    project = find_project(below)
    assert (project.root, project.name) == (root, "my-agent-2")
    assert len(project.id) == 8
    assert find_project(tmp_path, root) == project


def test_two_clones_differ_and_one_stays_the_same(tmp_path: Path) -> None:
    one, two = make(tmp_path / "one" / "agent"), make(tmp_path / "two" / "agent")
    assert find_project(one) == find_project(one)
    assert find_project(one).name == find_project(two).name
    assert find_project(one).id != find_project(two).id


def test_a_recorded_project_keeps_its_identity_when_it_moves(tmp_path: Path) -> None:
    before = find_project(make(tmp_path / "before"))
    record_project(before)
    (tmp_path / "before").rename(tmp_path / "after")
    after = find_project(tmp_path / "after")
    assert (after.name, after.id) == ("before", before.id)


def test_a_copy_beside_its_original_is_another_project(tmp_path: Path) -> None:
    original = find_project(make(tmp_path / "original"))
    record_project(original)
    shutil.copytree(original.root, tmp_path / "copy")
    assert find_project(tmp_path / "copy").id != original.id


def test_operators_of_one_engine_can_share_an_identity(tmp_path: Path) -> None:
    root = make(tmp_path / "project")
    (root / "environments" / "project.yaml").write_text("name: ours\nid: '0a1b2c3d'\n")
    assert find_project(root).slug == "ours-0a1b2c3d"
    (root / "environments" / "project.yaml").write_text("nam: ours\n")
    with pytest.raises(PreconditionMissing, match="did you mean name"):
        find_project(root)


def test_outside_of_a_project_it_says_what_to_do(tmp_path: Path) -> None:
    for arguments in ((Path("/"),), (tmp_path, tmp_path / "nowhere")):
        with pytest.raises(PreconditionMissing) as caught:
            find_project(*arguments)
        assert caught.value.code == "DC-PROJECT-NONE"
        assert "dcops init" in caught.value.do


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (json.dumps({"format": 2, "name": "a", "id": "00000000"}), "DC-STATE-NEWER"),
        ("{}", "DC-STATE-DAMAGED"),
        ("not json", "DC-STATE-DAMAGED"),
    ],
)
def test_state_that_cannot_be_used_is_refused(tmp_path: Path, content: str, code: str) -> None:
    root = make(tmp_path / "project")
    (root / ".dcops").mkdir()
    (root / ".dcops" / "project.json").write_text(content)
    with pytest.raises(PreconditionMissing) as caught:
        find_project(root)
    assert caught.value.code == code
    assert caught.value.exit_code == 6
