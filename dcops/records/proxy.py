"""How the proxy of an environment was last started: its configuration and where it listens."""

from __future__ import annotations

import json

PATH = "records/proxy.json"


def port(content: bytes | None) -> int | None:
    """The port of the record; None when the proxy was never started."""
    return None if content is None else int(json.loads(content)["port"])
