"""A tool's output in full on disk, and its head and tail for the model."""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from pathlib import Path

HEAD = TAIL = 15_000
"""Characters of a long output that the model sees from its start and from its end."""

MOST = 100_000
"""Characters of a result that no tool may exceed."""

PIECE = 256 * 1024
"""Characters of a long result that are looked at in one go; nobody else runs meanwhile."""

ON_DISK = 256 * 1024 * 1024
"""Bytes of one output that are kept."""

UNREADABLE = "\ufffd"
BINARY = 0.1
"""The part of unreadable characters from which on an output is not shown to the model."""

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])")
_UNFINISHED = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|[]PX^_][^\x07\x1b]*\x1b?|[ -/]*)\Z")
_CONTROLS = re.compile("[\x00-\x07\x0b\x0e-\x1f\x7f-\x9f]")
LONGEST_ESCAPE = 4096
"""Characters that are held back while an escape has no end."""


class Plain:
    """Takes terminal escapes and control characters out of a text that comes in pieces, split anywhere."""

    def __init__(self) -> None:
        """Holds nothing back yet."""
        self._held = ""

    def take(self, text: str, *, final: bool = False) -> str:
        """What is readable so far; the start of an escape is held back until its end is known."""
        text, self._held = self._held + text, ""
        if not final and (unfinished := _UNFINISHED.search(text, max(0, len(text) - LONGEST_ESCAPE))):
            text, self._held = text[: unfinished.start()], unfinished[0]
        return _CONTROLS.sub(UNREADABLE, _ESCAPES.sub("", text))


class Output:
    """Takes bytes as they come, gives text as it comes, and remembers what the model will see."""

    def __init__(self, path: Path) -> None:
        """Keeps everything in `path`, which is made with the first byte."""
        self._path = path
        self._file: BinaryIO | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._plain = Plain()
        self._bytes = 0
        self._room = ON_DISK
        self._unkept = ""
        self._head = ""
        self._tail = ""
        self._characters = 0

    def take(self, data: bytes, *, final: bool = False) -> str:
        """Keeps the bytes; returns the text that is complete with them, free of terminal escapes."""
        if data:
            self._keep(data)
        text = self._plain.take(self._decoder.decode(data, final), final=final)
        self._characters += len(text)
        room = HEAD - len(self._head)
        if room > 0:
            self._head += text[:room]
        self._tail = (self._tail + text[max(room, 0) :])[-TAIL:]
        return text

    def _keep(self, data: bytes) -> None:
        """Writes to the file; the command goes on when that fails, and the model is told."""
        self._bytes += len(data)
        kept = data[: self._room]
        if len(kept) < len(data):
            self._unkept = self._unkept or f"the file takes {ON_DISK} bytes"
        self._room -= len(kept)
        if not kept:
            return
        try:
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("wb", buffering=0)
            self._file.write(kept)
        except OSError as error:
            self._unkept, self._room = str(error.strerror or error), 0

    def for_model(self) -> str:
        """Head and tail with the number of characters left out; what is no text is only named."""
        where = f"what could be kept of it ({self._unkept})" if self._unkept else "all of it"
        shown = self._head + self._tail
        if shown.count(UNREADABLE) > BINARY * len(shown) + 1:
            return f"[binary output of {self._bytes} bytes; {where} is in {self._path}]"
        gap = ""
        if left_out := self._characters - len(shown):
            gap = f"\n[... {left_out} characters left out; {where} is in {self._path} ...]\n"
        return self._head + gap + self._tail

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def plain_text(text: str) -> str:
    """What a tool says, without the lone surrogates that stand for undecodable bytes in names of files."""
    return text.encode(errors="replace").decode()


def shortened(text: str, path: Path) -> str:
    """Head and tail of a result that is too long for the model; all of it goes to `path`."""
    output = Output(path)
    for start in range(0, len(text), PIECE):
        output.take(text[start : start + PIECE].encode(errors="replace"))
    output.take(b"", final=True)
    output.close()
    return output.for_model()
