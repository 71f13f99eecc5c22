from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dcops.agent.tools import output
from dcops.agent.tools.output import HEAD, TAIL, Output

if TYPE_CHECKING:
    from pathlib import Path


def _fed(path: Path, *chunks: bytes) -> Output:
    taken = Output(path)
    for chunk in chunks:
        taken.take(chunk)
    taken.take(b"", final=True)
    taken.close()
    return taken


@pytest.mark.parametrize("size", [0, 1, HEAD, HEAD + 1, HEAD + TAIL])
def test_what_fits_is_shown_whole(tmp_path: Path, size: int) -> None:
    text = "".join(chr(97 + n % 26) for n in range(size))
    chunks = [text[n : n + 777].encode() for n in range(0, size, 777)]
    assert _fed(tmp_path / "o", *chunks).for_model() == text


def test_what_does_not_fit_loses_its_middle(tmp_path: Path) -> None:
    shown = _fed(tmp_path / "o", b"a" * HEAD, b"b" * 1234, b"c" * TAIL).for_model()
    assert shown.startswith("a" * HEAD + "\n[... 1234 characters left out")
    assert shown.endswith("\n" + "c" * TAIL)
    assert str(tmp_path / "o") in shown


def test_the_file_is_made_with_the_first_byte(tmp_path: Path) -> None:
    _fed(tmp_path / "deep/o")
    assert not (tmp_path / "deep").exists()
    _fed(tmp_path / "deep/o", b"\xff\x00")
    assert (tmp_path / "deep/o").read_bytes() == b"\xff\x00"


def test_the_file_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "ON_DISK", 10)
    assert _fed(tmp_path / "o", b"a" * 8, b"b" * 8, b"c").for_model() == "a" * 8 + "b" * 8 + "c"
    assert (tmp_path / "o").read_bytes() == b"a" * 8 + b"bb"


def test_the_model_sees_no_escapes(tmp_path: Path) -> None:
    coloured = b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07plain \x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\ \x1bM"
    assert _fed(tmp_path / "o", coloured).for_model() == "red plain link "


@pytest.mark.parametrize(
    "escape",
    ["\x1b(B\x1b[m", "\x1b[>4;1m", "\x1b7\x1b8\x1b=", "\x1bP1;2|payload\x1b\\", "\x1b[?2026h", "\x1bc"],
)
def test_escapes_of_real_programs_are_taken_out(tmp_path: Path, escape: str) -> None:
    assert _fed(tmp_path / "o", f"a{escape}b".encode()).for_model() == "ab"


def test_a_full_disk_is_told_and_breaks_nothing(tmp_path: Path) -> None:
    (tmp_path / "o").symlink_to("/dev/full")
    shown = _fed(tmp_path / "o", b"a" * HEAD, b"b" * 1234, b"c" * TAIL).for_model()
    assert shown.startswith("a" * HEAD)
    assert "1234 characters left out; what could be kept of it (No space left on device)" in shown
