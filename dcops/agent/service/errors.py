"""Errors as clients see them: a stable code, what happened, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class JSON(Response):
    """A JSON answer that no cache keeps."""

    media_type = "application/json"

    def __init__(self, content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        safe = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        super().__init__(content, status, safe | dict(headers or {}))

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)


class ServiceError(Exception):
    """A request that cannot be done; routes raise it, the app answers with it.

    Attributes:
        status: HTTP status.
        code: Stable name of what went wrong.
        message: What happened, for a person.
        do: What the caller can do about it.
        headers: Additional response headers.
        details: Additional fields of the error object.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        do: str,
        *,
        headers: Mapping[str, str] | None = None,
        **details: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.do = do
        self.headers = headers
        self.details = details

    def response(self) -> JSON:
        """This error as the answer to a request."""
        body = {"code": self.code, "message": self.message, "do": self.do} | self.details
        return JSON({"error": body}, self.status, self.headers)


def error_response(
    status: int, code: str, message: str, do: str, headers: Mapping[str, str] | None = None
) -> JSON:
    """The answer for an error that is not raised."""
    return ServiceError(status, code, message, do, headers=headers).response()


def no_session(session: str) -> ServiceError:
    """The error for a session that is not there."""
    return ServiceError(404, "no_session", f"There is no session {session}.", "GET /v1/sessions lists them.")


def busy(turn: str) -> ServiceError:
    """The error for a session in which this turn is running."""
    return ServiceError(
        409,
        "turn_running",
        "Another turn is running in this session.",
        "Wait for its end, or stop it with POST /v1/sessions/{id}/stop.",
        turn=turn,
    )


def key_reused() -> ServiceError:
    """The error for a key or a run's id that stands for a turn with another input."""
    return ServiceError(
        422,
        "key_reused",
        "This key or run id already stands for a turn with another input.",
        "Send a new one with new input; the same one only to repeat a request.",
    )


def unwritten(reason: str) -> ServiceError:
    """The error for a journal that cannot be used just now: a full disk, a lock held too long, damage."""
    return ServiceError(
        503,
        "journal_unavailable",
        f"The journal cannot be used: {reason}.",
        "Look at the disk of the state directory, then try again; restore a backup of a damaged journal.",
        headers={"Retry-After": "1"},
    )


def not_now(reasons: Sequence[str]) -> ServiceError:
    """The error for a turn that this instance cannot take now, though another may."""
    return ServiceError(
        503,
        "not_taking_turns",
        f"No turn can start here now: {'; '.join(reasons)}.",
        "Try again in a moment; after a switch another instance answers.",
        headers={"Retry-After": "1"},
    )


def turns_off() -> ServiceError:
    """The error for a turn while the operators have switched new turns off."""
    return ServiceError(
        503,
        "turns_off",
        "No new turn starts: the master switch take_turns is off. Turns that run go on.",
        "Wait until the operators turn it on again (dcops toggle set take_turns true).",
    )


def disk_low(shortage: str) -> ServiceError:
    """The error for a turn that could fill the disk."""
    return ServiceError(
        503,
        "disk_low",
        f"No turn can start: {shortage}.",
        "Delete sessions that nobody needs, or give the disk more room; turns start again by themselves.",
        headers={"Retry-After": "10"},
    )


def budget_spent(reason: str, seconds: int) -> ServiceError:
    """The error for a turn on a day whose tokens are used up; it ends in so many seconds."""
    return ServiceError(
        429,
        "daily_token_budget",
        f"No turn can start: {reason}.",
        "Come back after midnight (UTC), or raise the toggle daily_token_budget.",
        headers={"Retry-After": str(seconds)},
    )
