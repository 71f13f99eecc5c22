from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from dcops.agent.tools import output
from dcops.agent.tools.output import HEAD, LONGEST_ESCAPE, TAIL, Output, Plain

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


def _pieces(text: str) -> list[list[str]]:
    return [[text[:n], text[n:]] for n in range(len(text) + 1)] + [list(text)]


ESCAPED = "a\x1b[1;31mred\x1b[0m\x1b]0;title\x07b\x1b]8;;http://x\x1b\\c\x1b(B\x1bMd"


def test_escapes_are_taken_out_wherever_they_are_split() -> None:
    for pieces in _pieces(ESCAPED):
        plain = Plain()
        shown = [plain.take(piece) for piece in pieces]
        assert "".join([*shown, plain.take("", final=True)]) == "aredbcd"


def test_what_is_shown_live_has_no_escapes_and_waits_for_no_more_than_it_must(tmp_path: Path) -> None:
    output = Output(tmp_path / "o")
    assert output.take(b"one \x1b[3") == "one "
    assert output.take(b"1mtwo") == "two"
    assert output.take("gr\u00fcn".encode()[:3]) == "gr"
    assert output.take("gr\u00fcn".encode()[3:]) == "\u00fcn"
    output.close()


def test_an_escape_without_end_holds_nothing_back_for_good() -> None:
    plain = Plain()
    shown = plain.take("\x1b]0;") + "".join(plain.take("x" * 100) for _ in range(100))
    assert shown.count("x") >= 10_000 - 2 * LONGEST_ESCAPE
    assert (shown + plain.take("", final=True)).count("x") == 10_000


def test_escapes_cost_linear_time() -> None:
    plain = Plain()
    began = time.process_time()
    for _ in range(2_000):
        plain.take("\x1b]" + "\x1b[" * 500)
    assert time.process_time() - began < 10


def test_what_is_no_text_is_named_and_kept(tmp_path: Path) -> None:
    noise = bytes(range(256)) * 400
    shown = _fed(tmp_path / "o", noise).for_model()
    assert shown == f"[binary output of {len(noise)} bytes; all of it is in {tmp_path}/o]"
    assert (tmp_path / "o").read_bytes() == noise


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"a\0b", "a\ufffdb"),
        (
            "gr\u00fc\u00df aus K\u00f6ln, wie immer".encode("latin-1"),
            "gr\ufffd\ufffd aus K\ufffdln, wie immer",
        ),
        (b"", ""),
        (b"tab\tand\r\nnewline", "tab\tand\r\nnewline"),
    ],
)
def test_what_cannot_be_read_is_marked(tmp_path: Path, data: bytes, shown: str) -> None:
    assert _fed(tmp_path / "o", data).for_model() == shown


def test_a_full_disk_is_told_and_breaks_nothing(tmp_path: Path) -> None:
    (tmp_path / "o").symlink_to("/dev/full")
    shown = _fed(tmp_path / "o", b"a" * HEAD, b"b" * 1234, b"c" * TAIL).for_model()
    assert shown.startswith("a" * HEAD)
    assert "1234 characters left out; what could be kept of it (No space left on device)" in shown
