"""A value that does not show itself, and text without what must not be shown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

HIDDEN = "***"
# Keys of the API, hexadecimal tokens as the gateway and the instance route have them, and users' tokens.
_SHAPES = re.compile(r"sk-ant-[A-Za-z0-9_-]+|[0-9a-f]{64}|(?<=Bearer )\S+")


class Secret:
    """Bytes that no message, event or report shows; ``reveal`` is the only way to them."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        return self._value

    def __repr__(self) -> str:
        return HIDDEN

    def __format__(self, _specification: str) -> str:
        return HIDDEN

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("a secret is not written down")


def redacted(text: str, secrets: Iterable[Secret] = (), *, public: Collection[str] = ()) -> str:
    """Text without the secrets, and without whatever looks like one, wherever in a line it stands.

    Args:
        public: What may be shown although it looks like a token: ids of releases.
    """
    for secret in secrets:
        text = text.replace(secret.reveal().decode(errors="replace"), HIDDEN)
    return _SHAPES.sub(lambda found: found[0] if found[0] in public else HIDDEN, text)
