"""From the bytes of a Messages API stream to its events, whatever the pieces they come in."""

from __future__ import annotations

from codecs import BOM_UTF8
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator


class Decoder:
    """Takes bytes, gives events; each event's data says its type, so `event:` lines are not needed."""

    def __init__(self) -> None:
        """Nothing has come yet."""
        self._line: list[bytes] = []
        self._data: list[bytes] = []
        self._first = True
        self._returned = False

    def feed(self, chunk: bytes) -> Iterator[dict[str, Any]]:
        """The events that are complete with this chunk.

        Raises:
            orjson.JSONDecodeError: an event is not JSON.
        """
        if b"\r" in chunk or self._returned:
            chunk = self._line_feeds(chunk)
        *ended, rest = chunk.split(b"\n")
        for end in ended:
            line = end
            if self._line:
                line = b"".join((*self._line, end))
                self._line.clear()
            if self._first:
                line, self._first = line.removeprefix(BOM_UTF8), False
            if line.startswith(b"data:"):
                self._data.append(line[5:])
            elif not line and self._data:
                data, self._data = b"\n".join(self._data), []
                yield orjson.loads(data)
        if rest:
            self._line.append(rest)

    def end(self) -> Iterator[dict[str, Any]]:
        """The last event, if the stream ended without the empty line behind it.

        Raises:
            orjson.JSONDecodeError: it was cut.
        """
        yield from self.feed(b"\n\n")

    def _line_feeds(self, chunk: bytes) -> bytes:
        """The chunk with each CR LF and each CR as LF, also when a CR LF was cut in two."""
        if self._returned and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._returned = False
        self._returned = self._returned or chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
