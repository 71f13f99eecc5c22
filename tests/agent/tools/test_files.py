from __future__ import annotations

import asyncio
import os
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import pytest

from dcops.agent.tools import files
from dcops.agent.tools.files import LONGEST_LINE, MOST_CHARACTERS, MOST_ENTRIES, Files, confined
from dcops.agent.tools.tool import Lane, ToolContext, ToolResult


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    workspace = tmp_path / "work space"
    workspace.mkdir()
    return workspace


def _view(workspace: Path, path: str, **more: Any) -> ToolResult:
    async def run() -> ToolResult:
        context = ToolContext("s", workspace, workspace / "unused")
        arguments = {"command": "view", "path": path, **more}
        *pieces, result = [item async for item in Files().run(arguments, context)]
        assert isinstance(result, ToolResult)
        if pieces:
            assert "".join(piece.text for piece in pieces) == f"{result.content}\n"
        return result

    return asyncio.run(run())


def test_a_file_is_shown_with_line_numbers(workspace: Path) -> None:
    (workspace / "a.txt").write_text("one\ntwo\n\nfour")
    for path in ("a.txt", str(workspace / "a.txt"), "./x/../a.txt"):
        assert _view(workspace, path) == ToolResult("     1\tone\n     2\ttwo\n     3\t\n     4\tfour")


@pytest.mark.parametrize(
    ("view_range", "lines"),
    [([2, 3], "23"), ([3, -1], "345"), ([5, 5], "5"), ([4, 99], "45"), ([1, 1], "1"), ([2.0, 3.0], "23")],
)
def test_a_range_shows_its_lines(workspace: Path, view_range: list[int], lines: str) -> None:
    (workspace / "a").write_text("".join(f"line{n}\n" for n in range(1, 6)))
    shown = _view(workspace, "a", view_range=view_range).content.splitlines()
    assert [line.strip()[0] for line in shown] == list(lines)
    assert all(line.endswith(f"line{line.strip()[0]}") for line in shown)


@pytest.mark.parametrize("view_range", [[0, 3], [3, 2], [1, 0], [-1, -1], [1, -2]])
def test_a_range_that_is_none_is_refused(workspace: Path, view_range: list[int]) -> None:
    (workspace / "a").write_text("x\n")
    result = _view(workspace, "a", view_range=view_range)
    assert result.status == "failed"
    assert "view_range" in result.content


def test_what_lies_behind_the_end_is_said(workspace: Path) -> None:
    (workspace / "a").write_text("x\n")
    (workspace / "empty").touch()
    assert "fewer than 9 lines" in _view(workspace, "a", view_range=[9, -1]).content
    assert _view(workspace, "empty").content == "[the file is empty]"


def test_a_large_file_is_cut_and_a_long_line_too(workspace: Path) -> None:
    (workspace / "large").write_text("".join(f"{n:99}\n" for n in range(10_000)))
    content = _view(workspace, "large").content
    assert len(content) < 80_000
    assert "use view_range" in content
    (workspace / "long").write_text("x" * 50_000)
    assert "48000 more" in _view(workspace, "long").content


def test_a_directory_is_listed_two_levels_deep_without_hidden_entries(workspace: Path) -> None:
    (workspace / "b/c/d").mkdir(parents=True)
    (workspace / "a.txt").touch()
    (workspace / ".hidden").mkdir()
    (workspace / "b/link").symlink_to("/etc")
    assert _view(workspace, ".").content == "a.txt\nb/\nb/c/\nb/link/"
    assert _view(workspace, "b/c/d").content == "[the directory is empty]"
    assert _view(workspace, ".", view_range=[1, 2]).status == "failed"


def test_a_link_in_circles_hides_nothing_of_its_directory(workspace: Path) -> None:
    (workspace / "b").mkdir()
    (workspace / "b/loop").symlink_to("loop")
    (workspace / "loop").symlink_to("loop")
    assert _view(workspace, ".").content == "b/\nb/loop\nloop"


def test_a_file_of_many_short_lines_is_cut(workspace: Path) -> None:
    (workspace / "lines").write_text("\n" * 100_000)
    content = _view(workspace, "lines").content
    assert len(content) < MOST_CHARACTERS + 100
    assert "use view_range" in content


def test_a_very_full_directory_is_cut(workspace: Path) -> None:
    for n in range(MOST_ENTRIES + 5):
        (workspace / f"{n:04}").touch()
    lines = _view(workspace, ".").content.splitlines()
    assert len(lines) == MOST_ENTRIES + 1
    assert "more than" in lines[-1]


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../secret", "link/passwd", "file", "a\0b", "loop", "up/secret"]
)
def test_nothing_outside_the_workspace_is_shown(workspace: Path, path: str) -> None:
    (workspace.parent / "secret").write_text("SECRET")
    (workspace / "link").symlink_to("/etc")
    (workspace / "file").symlink_to("../secret")
    (workspace / "up").symlink_to("..")
    (workspace / "loop").symlink_to("loop")
    result = _view(workspace, path)
    assert result.status == "failed"
    assert "SECRET" not in result.content
    assert "root:" not in result.content


def test_a_link_within_the_workspace_is_followed(workspace: Path) -> None:
    (workspace / "a").write_text("x")
    (workspace / "link").symlink_to("a")
    assert _view(workspace, "link").content.endswith("x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_said(workspace: Path) -> None:
    (workspace / "a").write_text("x")
    (workspace / "a").chmod(0)
    assert "Permission denied" in _view(workspace, "a").content


def test_what_is_no_text_is_said(workspace: Path) -> None:
    (workspace / "a").write_bytes(b"\x7fELF\0\0")
    os.mkfifo(workspace / "pipe")
    assert "binary file of 6 bytes" in _view(workspace, "a").content
    assert "neither a file nor a directory" in _view(workspace, "pipe").content
    assert "does not exist" in _view(workspace, "gone").content


def test_a_name_that_is_no_text_is_shown_all_the_same(workspace: Path) -> None:
    (workspace / os.fsdecode(b"caf\xe9")).mkdir()
    (workspace / os.fsdecode(b"caf\xe9") / "menu").touch()
    assert _view(workspace, ".").content == "caf\ufffd/\ncaf\ufffd/menu"


def test_a_link_put_there_after_the_check_leads_nowhere(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace.parent / "secret").mkdir()
    (workspace.parent / "secret/key").write_text("a secret")
    (workspace / "folder").mkdir()
    (workspace / "folder/key").write_text("harmless")

    def late(path: str, root: Path) -> Path:
        real = confined(path, root)
        (workspace / "folder/key").unlink()
        (workspace / "folder").rmdir()
        (workspace / "folder").symlink_to(workspace.parent / "secret")
        return real

    monkeypatch.setattr("dcops.agent.tools.files.confined", late)
    result = _view(workspace, "folder/key")
    assert result.status == "failed"
    assert "outside the workspace" in result.content


def test_a_named_pipe_holds_nobody(workspace: Path) -> None:
    os.mkfifo(workspace / "pipe")
    assert "neither a file nor a directory" in _view(workspace, "pipe").content


def test_a_line_without_end_is_not_held_in_memory(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workspace / "long").write_text("x" * 500_000 + "\nnext\n")
    assert _view(workspace, "long").content.splitlines() == [
        f"     1\t{'x' * LONGEST_LINE} [... {500_000 - LONGEST_LINE} more]",
        "     2\tnext",
    ]
    monkeypatch.setattr(files, "FARTHEST", 100_000)
    assert "only the first 100000 characters" in _view(workspace, "long").content


def test_a_long_view_comes_in_pieces_and_a_short_one_at_once(workspace: Path) -> None:
    (workspace / "long").write_text("".join(f"{n:70}\n" for n in range(700)))
    (workspace / "short").write_text("one\ntwo\n")

    async def items(path: str) -> list[Any]:
        context = ToolContext("s", workspace, workspace / "unused")
        return [item async for item in Files().run({"command": "view", "path": path}, context)]

    *pieces, result = asyncio.run(items("long"))
    assert len(pieces) > 1
    assert "".join(piece.text for piece in pieces) == f"{result.content}\n"
    assert asyncio.run(items("short")) == [ToolResult("     1\tone\n     2\ttwo")]


def test_a_view_that_is_broken_off_leaves_nothing_open(workspace: Path) -> None:
    (workspace / "long").write_text("".join(f"{n:70}\n" for n in range(700)))

    async def break_off() -> None:
        context = ToolContext("s", workspace, workspace / "unused")
        async with aclosing(Files().run({"command": "view", "path": "long"}, context)) as items:
            await anext(items)

    asyncio.run(break_off())
    assert not any(_is(descriptor, workspace / "long") for descriptor in Path("/proc/self/fd").iterdir())


def _is(descriptor: Path, path: Path) -> bool:
    with suppress(OSError):  # the one that lists them is gone by now
        return descriptor.readlink() == path
    return False


def test_views_of_one_file_share_its_lane_under_any_name(workspace: Path) -> None:
    (workspace / "a").touch()
    (workspace / "link").symlink_to("a")
    context = ToolContext("s", workspace, workspace / "unused")
    lanes = {Files().lane({"command": "view", "path": path}, context) for path in ("a", "./link", "x/../a")}
    assert lanes == {Lane.of_file(workspace / "a", shared=True)}
    assert Lane.of_file(workspace / "link").name == Lane.of_file(workspace / "a").name
    assert Lane.of_file(workspace / "b").name != Lane.of_file(workspace / "a").name
