"""Reads what clients send, and says precisely what is wrong with it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson

from .errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from starlette.requests import Request

    from .instance import Instance

MAX_BODY = 1_000_000  # bytes
MAX_KEY = 200
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


def instance_of(request: Request) -> Instance:
    """The instance that serves the request."""
    instance: Instance = request.app.state.instance
    return instance


def bad(message: str, do: str) -> ServiceError:
    """The error for a request that is malformed."""
    return ServiceError(400, "bad_request", message, do)


async def json_object(request: Request, *, allowed: AbstractSet[str] | None) -> dict[str, Any]:
    """The request's body, a JSON object; an absent body is an empty one.

    Args:
        request: The request.
        allowed: The keys that it may have; None allows any.

    Raises:
        ServiceError: Too large, not JSON, not an object, or with an unknown key.
    """
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            raise ServiceError(413, "too_large", "The body is too large.", f"Send at most {MAX_BODY} bytes.")
    try:
        decoded = orjson.loads(body) if body else {}
    except orjson.JSONDecodeError as error:
        raise bad(f"The body is not JSON: {error}.", "Send a JSON object.") from None
    if not isinstance(decoded, dict):
        raise bad("The body is not a JSON object.", "Send a JSON object.")
    if allowed is not None and (unknown := decoded.keys() - allowed):
        raise bad(
            f"Unknown keys: {', '.join(sorted(unknown))}.", f"Known keys are: {', '.join(sorted(allowed))}."
        )
    return decoded


def text_field(body: dict[str, Any], name: str) -> str:
    """A text in the body that is not blank."""
    text = body.get(name)
    if not isinstance(text, str) or not text.strip():
        raise bad(f"{name!r} is missing or blank.", f"Send {name!r} with some text.")
    return text


def chosen_id(body: dict[str, Any], name: str) -> str:
    """An id that the client chose; it becomes a part of addresses."""
    text = text_field(body, name)
    if not _ID.fullmatch(text):
        raise bad(
            f"{name!r} cannot be used as an id.",
            "Send up to 128 letters, digits and . _ : - that begin with a letter or a digit.",
        )
    return text


def idempotency_key(request: Request) -> str | None:
    """The `Idempotency-Key` header, if there is one."""
    key = request.headers.get("idempotency-key")
    if key is not None and not (key.isascii() and key.isprintable() and 0 < len(key) <= MAX_KEY):
        raise bad(
            "The Idempotency-Key is malformed.", f"Send 1 to {MAX_KEY} printable ASCII characters, or none."
        )
    return key


def cursor(request: Request) -> int:
    """The sequence number that a client has: `Last-Event-ID`, else `?after=`, else 0."""
    text = request.headers.get("last-event-id") or request.query_params.get("after") or "0"
    if not re.fullmatch(r"\d{1,15}", text):
        raise bad(f"{text!r} is not a sequence number.", "Send the `id` of the last event that you have.")
    return int(text)
