"""A tool's output in full on disk, and its head and tail for the model."""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from pathlib import Path

HEAD = TAIL = 15_000
"""Characters of a long output that the model sees from its start and from its end."""

ON_DISK = 256 * 1024 * 1024
"""Bytes of one output that are kept."""

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])")


class Output:
    """Takes bytes as they come, gives text as it comes, and remembers what the model will see."""

    def __init__(self, path: Path) -> None:
        """Keeps everything in `path`, which is made with the first byte."""
        self._path = path
        self._file: BinaryIO | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._room = ON_DISK
        self._unkept = ""
        self._head = ""
        self._tail = ""
        self._characters = 0

    def take(self, data: bytes, *, final: bool = False) -> str:
        """Keeps the bytes; returns the text that is complete with them."""
        if data:
            self._keep(data)
        text = self._decoder.decode(data, final)
        self._characters += len(text)
        room = HEAD - len(self._head)
        if room > 0:
            self._head += text[:room]
        self._tail = (self._tail + text[max(room, 0) :])[-TAIL:]
        return text

    def _keep(self, data: bytes) -> None:
        """Writes to the file; the command goes on when that fails, and the model is told."""
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
        """Head and tail with the number of characters left out, free of terminal escapes."""
        gap = ""
        if left_out := self._characters - len(self._head) - len(self._tail):
            where = f"what could be kept of it ({self._unkept})" if self._unkept else "all of it"
            gap = f"\n[... {left_out} characters left out; {where} is in {self._path} ...]\n"
        return _ESCAPES.sub("", self._head + gap + self._tail)

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
