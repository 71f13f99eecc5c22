from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from dcops.engines.tail import BLOCK, follow, last_lines

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("lines", [0, 1, 2, 3, 4, 100])
@pytest.mark.parametrize("end", ["", "\n"])
def test_the_last_lines(tmp_path: Path, lines: int, end: str) -> None:
    log = tmp_path / "log"
    log.write_text("one\ntwo\nthree" + end)
    assert last_lines(log, lines) == ["one", "two", "three"][max(0, 3 - lines) :]


def test_lines_longer_than_a_block(tmp_path: Path) -> None:
    log = tmp_path / "log"
    long = "x" * (3 * BLOCK)
    log.write_text(f"first\n{long}\nlast\n")
    assert last_lines(log, 2) == [long, "last"]
    assert last_lines(log, 9) == ["first", long, "last"]


def test_after_a_rotation_the_earlier_file_fills_up(tmp_path: Path) -> None:
    (tmp_path / "log.1").write_text("a\nb\n")
    (tmp_path / "log").write_text("c\n")
    assert last_lines(tmp_path / "log", 2) == ["b", "c"]
    assert last_lines(tmp_path / "nothing", 2) == []


def test_bytes_that_are_no_text_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"\xff\xfe\n")
    assert last_lines(tmp_path / "log", 1) == ["\ufffd\ufffd"]


def test_following_yields_whole_lines_through_a_rotation_and_ends(tmp_path: Path) -> None:
    log, goes_on = tmp_path / "log", [True]
    log.write_text("zero\none\nhal")
    lines = follow(log, 1, lambda: goes_on[0])
    assert next(lines) == "one"
    with log.open("a") as file:
        file.write("f\ntwo\n")
    assert list(itertools.islice(lines, 2)) == ["half", "two"]
    log.rename(tmp_path / "log.1")
    log.write_text("three\n")
    assert next(lines) == "three"
    goes_on[0] = False
    assert list(lines) == []
