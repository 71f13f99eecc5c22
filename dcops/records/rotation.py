"""The files of a bearer token that takes another one's place, so that this machine always has a valid one.

``token.next`` is not in use yet, ``token.earlier`` was in use before; both are there for a rotation only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcops.files import sync_directory, write_file
from dcops.records.local import new_token

if TYPE_CHECKING:
    from pathlib import Path


class Rotation:
    """Beside the file of a token.

    Args:
        token_file: ``.dcops/<environment>/token``.
    """

    def __init__(self, token_file: Path) -> None:
        self._token = token_file
        self._next = token_file.with_name("token.next")
        self._earlier = token_file.with_name("token.earlier")

    def begin(self) -> str:
        """Make the token that comes next."""
        self.end()
        token = new_token()
        write_file(self._next, token.encode() + b"\n", mode=0o600)
        return token

    @property
    def next(self) -> str:
        """The token that comes next; empty when there is none."""
        return _read(self._next)

    @property
    def earlier(self) -> str:
        """The token that was in use before; empty when there is none."""
        return _read(self._earlier)

    def turn(self) -> None:
        """Use the next token from now on."""
        write_file(self._earlier, self._token.read_bytes(), mode=0o600)
        self._next.replace(self._token)
        sync_directory(self._token.parent)

    def turn_back(self) -> None:
        """Use the earlier token again."""
        self._earlier.replace(self._token)
        sync_directory(self._token.parent)

    def end(self) -> None:
        """Forget all but the token in use."""
        for path in (self._next, self._earlier):
            path.unlink(missing_ok=True)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""
