"""JSON lines as records keep them."""

from __future__ import annotations

import json
from typing import Any


def parse_lines(content: bytes | None) -> list[dict[str, Any]]:
    """Documents of a JSON-lines file; a last line without its newline was torn by a crash and is left out."""
    *whole, _torn = (content or b"").split(b"\n")
    return [json.loads(line) for line in whole if line.strip()]
