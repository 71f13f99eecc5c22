from __future__ import annotations

import hashlib
import json

import pytest

from dcops.core.chain import FIRST, Chain, follow
from dcops.errors import CheckFailed


def chain(count: int, *early: bytes) -> list[bytes]:
    """Lines as they are stored, the early ones without a link."""
    lines = list(early)
    for number in range(count):
        prev = hashlib.sha256(lines[-1]).hexdigest() if lines else FIRST
        lines.append(json.dumps({"n": number, "prev": prev}).encode())
    return lines


def joined(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def broken(lines: list[bytes]) -> int:
    """The line that is named as the first broken one."""
    with pytest.raises(CheckFailed) as caught:
        follow(joined(lines))
    assert caught.value.code == "DC-HISTORY-BROKEN"
    assert caught.value.exit_code == 5
    line: int = caught.value.detail["line"]
    assert f"line {line} " in caught.value.what
    return line


def test_a_whole_chain_names_its_last_line() -> None:
    lines = chain(3)
    assert follow(joined(lines)) == Chain(3, 3, hashlib.sha256(lines[-1]).hexdigest())
    assert follow(None) == follow(b"") == Chain(0, 0, FIRST)


def test_a_changed_line_is_told_by_the_one_behind_it() -> None:
    lines = chain(4)
    lines[1] = lines[1].replace(b'"n": 1', b'"n": 9')
    assert broken(lines) == 3


def test_a_removed_line_is_told() -> None:
    lines = chain(4)
    assert broken([lines[0], *lines[2:]]) == 2
    assert broken(lines[1:]) == 1


def test_moved_and_repeated_lines_are_told() -> None:
    lines = chain(4)
    assert broken([lines[0], lines[2], lines[1], lines[3]]) == 2
    assert broken([*lines, lines[-1]]) == 5


def test_an_inserted_line_is_told() -> None:
    lines = chain(4)
    assert broken([*lines[:2], b'{"n": 7}', *lines[2:]]) == 3
    assert broken([*lines[:2], b"", *lines[2:]]) == 3
    assert broken([*lines[:2], b"no json", *lines[2:]]) == 3
    assert broken([*lines[:2], b"[]", *lines[2:]]) == 3


def test_lines_of_early_versions_stand_before_the_chain_only() -> None:
    lines = chain(2, b'{"n": "a"}', b'{"n": "b"}')
    assert follow(joined(lines)) == Chain(4, 2, hashlib.sha256(lines[-1]).hexdigest())
    assert broken([*lines, b'{"n": "c"}']) == 5
    assert broken([lines[0], b'{"n": "other"}', *lines[2:]]) == 3


def test_a_torn_last_line_is_no_break() -> None:
    lines = chain(2)
    assert follow(joined(lines) + b'{"n": 2, "pre') == follow(joined(lines))


def test_what_was_cut_off_at_the_end_shows_by_the_hash_that_was_written_down() -> None:
    lines = chain(4)
    assert follow(joined(lines[:3])).last != follow(joined(lines)).last
