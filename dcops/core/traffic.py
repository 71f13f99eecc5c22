"""What users got, read from the lines that the proxy logs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

# Requests to the gateway, and those that maintenance refuses, are logged under longer names; those by the
# instance route are not logged at all.
_PUBLIC = "http.log.access"
_REVERSE_PROXY = "http.handlers.reverse_proxy"
_CUT = "aborting with incomplete response"
# The upstream of public requests is logged as it stands in the configuration.
_POINTER = "/current}"


@dataclass(frozen=True, slots=True)
class Traffic:
    """Public requests that have ended.

    Attributes:
        errors: Answered with 5xx; a connection that the instance refused is a 502.
        cut: Answers that the instance broke off; a client that went away cuts nothing.
    """

    requests: int = 0
    errors: int = 0
    cut: int = 0

    @property
    def share(self) -> float:
        """Percent of the requests that failed."""
        return 100 * self.errors / self.requests if self.requests else 0.0

    def __str__(self) -> str:
        return f"{self.requests} requests, {self.errors} failed, {self.cut} streams cut"


def traffic(lines: Iterable[str], *, since: float) -> Traffic:
    """Count the requests in lines of Caddy's JSON logs.

    Args:
        lines: Access lines and those of its handlers, in any order; others are passed over.
        since: Seconds since the epoch: requests that began earlier were another instance's.
    """
    requests = errors = cut = 0
    for line in lines:
        entry = _entry(line)
        logger, at = entry.get("logger"), entry.get("ts", 0.0)
        if logger == _PUBLIC and at - entry.get("duration", 0.0) >= since:
            requests += 1
            errors += entry.get("status", 0) >= 500
        elif logger == _REVERSE_PROXY and at >= since:
            cut += _is_cut(entry)
    return Traffic(requests, errors, cut)


def _entry(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _is_cut(entry: dict[str, Any]) -> bool:
    """Caddy logs both ends' faults alike; what failed, and why, tells them apart.

    ``reading`` is from the instance, ``canceled`` where the client has gone; ``writing`` is to the client.
    """
    error = str(entry.get("error", ""))
    return (
        entry.get("msg") == _CUT
        and str(entry.get("upstream", "")).endswith(_POINTER)
        and error.startswith("reading:")
        and not error.endswith("context canceled")
    )
