"""Who may talk to this instance: bearer tokens, and the hosts it answers for."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson
import structlog
from starlette.datastructures import Headers

from .errors import error_response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

log = structlog.get_logger()

OPEN_PATHS = frozenset({"/", "/page.css", "/healthz", "/readyz"})
LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Token:
    """A token that is let in: its sha256 (hex), and the moment it ends (seconds since the epoch), if any."""

    sha256: str
    until: float | None

    @classmethod
    def parse(cls, entry: dict[str, Any]) -> Token:
        """Read one entry of `tokens`; `until` is null, seconds since the epoch, or an ISO 8601 time.

        Raises:
            ValueError, KeyError, TypeError: It is malformed.
        """
        sha256, until = entry["sha256"], entry["until"]
        if not _SHA256.fullmatch(sha256):
            raise ValueError("sha256 must be 64 hex digits")
        if until is None:
            return cls(sha256, None)
        if type(until) in {int, float}:
            return cls(sha256, until)
        moment = datetime.fromisoformat(until)
        if moment.tzinfo is None:
            raise ValueError("until must name its time zone")
        return cls(sha256, moment.timestamp())


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is not a list")
    return value


class Access:
    """What `access.json` allows: the last good document; before the first one, nothing."""

    def __init__(self) -> None:
        self._tokens: tuple[Token, ...] = ()
        self._hosts: frozenset[str] = frozenset()

    def offer(self, document: bytes | None) -> None:
        """Take `{"tokens": [{"sha256", "until"}], "hosts": []}`; keep the last good one if it is bad."""
        try:
            decoded = orjson.loads(document or b"")
            tokens = tuple(Token.parse(entry) for entry in _list(decoded["tokens"]))
            hosts = frozenset(str.lower(host) for host in _list(decoded["hosts"]))
        except (ValueError, KeyError, TypeError) as error:
            log.warning("access.refused_document", error=repr(error))
            return
        self._tokens, self._hosts = tokens, hosts

    def allows_token(self, authorization: str | None) -> bool:
        """Whether an `Authorization` header carries a token that is let in now."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return False
        presented = hashlib.sha256(token.strip().encode()).hexdigest()
        now = time.time()
        # Every token is compared, so that the time taken tells nothing about which one fits.
        fits = [hmac.compare_digest(presented, known.sha256) for known in self._tokens]
        return any(
            fit and (known.until is None or now < known.until)
            for fit, known in zip(fits, self._tokens, strict=True)
        )

    def allows_host(self, host: str | None) -> bool:
        """Whether a `Host` header names loopback or one of the hosts this instance answers for."""
        name = re.sub(r":\d*$", "", (host or "").lower())
        return name in LOOPBACK or name in self._hosts


def same_origin(origin: str | None, host: str | None) -> bool:
    """Whether a request comes from a page of the same host, or from no page at all."""
    return origin is None or origin.lower().partition("://")[2] == (host or "").lower()


class Guard:
    """ASGI middleware that refuses what `Access` does not allow, before any route runs."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        host = headers.get("host")
        if not self._access.allows_host(host):
            refusal = error_response(
                403, "host", "This host name is not served here.", "Use the address that dcops printed."
            )
        elif not same_origin(headers.get("origin"), host):
            refusal = error_response(
                403, "origin", "Pages of other hosts may not use this agent.", "Open the agent's own page."
            )
        elif scope["path"] not in OPEN_PATHS and not self._access.allows_token(headers.get("authorization")):
            refusal = error_response(
                401,
                "unauthenticated",
                "A valid token is missing.",
                "Send the header Authorization: Bearer TOKEN.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        else:
            log.debug("request", method=scope["method"], path=scope["path"])
            await self._app(scope, receive, send)
            return
        await refusal(scope, receive, send)
