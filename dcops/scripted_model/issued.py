"""What the server has issued and must get back unchanged."""

from __future__ import annotations

import base64
import hashlib
from collections import OrderedDict
from typing import Any

_OURS = "scripted."
_REMEMBERED = 20_000


def sign(thinking: str) -> str:
    """A signature that carries its own proof, so that it holds across restarts of the server."""
    digest = hashlib.sha256(thinking.encode()).digest()
    return _OURS + base64.b64encode(digest).decode()


class Issued:
    """Thinking that was sent out, by its signature, and by the calls that it led to."""

    def __init__(self) -> None:
        self._text_of: OrderedDict[str, str] = OrderedDict()
        self._before: OrderedDict[str, list[dict[str, Any]]] = OrderedDict()

    def remember(self, content: list[dict[str, Any]]) -> None:
        """Keep the thinking of a reply's content."""
        thoughts: list[dict[str, Any]] = []
        for block in content:
            kind = block.get("type")
            if kind == "redacted_thinking":
                thoughts.append(dict(block))
            elif kind == "thinking" and block.get("signature"):  # a cut, unsigned one must not come back
                thoughts.append(dict(block))
                self._text_of[str(block["signature"])] = block.get("thinking", "")
            elif kind == "tool_use":
                self._before[str(block.get("id"))] = list(thoughts)
        for kept in (self._text_of, self._before):
            while len(kept) > _REMEMBERED:
                kept.popitem(last=False)

    def is_genuine(self, thinking: str, signature: str) -> bool:
        """Whether the text is what the signature was issued for; a foreign signature is believed."""
        if signature.startswith(_OURS):
            return signature == sign(thinking)
        return self._text_of.get(signature, thinking) == thinking

    def thoughts_before(self, call: str) -> list[dict[str, Any]] | None:
        """The thinking blocks that came before a call; None when the call is not known here."""
        return self._before.get(call)
