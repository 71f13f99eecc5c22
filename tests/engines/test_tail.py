from __future__ import annotations

import gzip
import itertools
import json
import os
from typing import TYPE_CHECKING

import pytest

from dcops.engines.tail import BLOCK, follow, last_lines, lines_since, parts

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


def timed(number: float, text: str = "") -> str:
    return json.dumps({"level": "info", "ts": number, "msg": text})


def test_all_lines_of_all_parts(tmp_path: Path) -> None:
    for number, name in enumerate(["log.3", "log.2", "log.1", "log"]):
        (tmp_path / name).write_text(f"{number}a\n{number}b\n")
    assert last_lines(tmp_path / "log", None) == [f"{each}{part}" for each in range(4) for part in "ab"]
    assert last_lines(tmp_path / "log", 3) == ["2b", "3a", "3b"]


def test_lines_since_a_moment_with_those_that_belong_to_them(tmp_path: Path) -> None:
    log = tmp_path / "log"
    lines = ["early", timed(10), "of 10", "{no json", timed(20), "of 20", '{"ts": null}', timed(30), "[1]"]
    log.write_text("\n".join(lines) + "\n")
    assert list(lines_since([log], 20)) == lines[4:]
    assert list(lines_since([log], 20.5)) == lines[7:]
    assert list(lines_since([log], 31)) == []
    assert list(lines_since([log], 5)) == lines
    assert list(lines_since([tmp_path / "nothing"], 5)) == []


def test_times_are_read_as_the_agent_and_as_caddy_write_them(tmp_path: Path) -> None:
    log = tmp_path / "log"
    lines = [
        '{"event": "a", "time": "2026-11-21T10:00:00.000001Z"}',
        '{"event": "b", "time": "2026-11-21T12:00:01+01:00"}',
        '{"ts": 1795258801.5}',
    ]
    log.write_text("\n".join(lines))
    os.utime(log, (1795258802, 1795258802))
    assert list(lines_since([log], 1795255200.5)) == lines[1:]
    assert list(lines_since([log], 1795258801.0)) == lines[1:]
    assert list(lines_since([log], 1795258801.2)) == lines[2:]


def test_where_no_line_has_a_time_the_files_has_to_do(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("a\nb\n")
    os.utime(log, (100, 100))
    assert list(lines_since([log], 100)) == ["a", "b"]
    assert list(lines_since([log], 101)) == []


def test_a_long_log_is_read_from_its_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    lines = [timed(number, "x" * 200) for number in range(20_000)]
    log.write_text("\n".join(lines) + "\n")
    for moment in (19_999, 19_000, 100, 0):
        assert list(lines_since([log], moment)) == lines[moment:]


def test_what_was_compressed_meanwhile_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.log.gz").write_bytes(gzip.compress(f"{timed(1)}\n{timed(2)}\n".encode()))
    (tmp_path / "b.log").write_text(timed(3) + "\n")
    assert list(lines_since([tmp_path / "a.log", tmp_path / "b.log"], 2)) == [timed(2), timed(3)]
    assert list(lines_since([tmp_path / "a.log.gz"], 2)) == [timed(2)]


def test_following_since_a_moment(tmp_path: Path) -> None:
    log = tmp_path / "log"
    (tmp_path / "log.1").write_text(timed(1) + "\n" + timed(3) + "\n")
    log.write_text(timed(4) + "\n" + timed(5)[:9])
    lines = follow(log, None, lambda: False, since=2)
    assert list(itertools.islice(lines, 2)) == [timed(3), timed(4)]
    with log.open("a") as file:
        file.write(timed(5)[9:] + "\n")
    assert list(lines) == [timed(5)]
    assert list(follow(log, 1, lambda: False, since=2)) == [timed(5)]
    assert parts(log) == [tmp_path / "log.1", log]
