"""Errors in the API's own shape."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

TYPE_OF_STATUS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
STATUS_OF_TYPE = {kind: status for status, kind in TYPE_OF_STATUS.items()}


@dataclass(eq=False)
class ApiError(Exception):
    """A refusal as the API words it.

    Args:
        status: HTTP status of the response.
        type: the API's error type, e.g. `overloaded_error`.
        message: what the caller reads.
        headers: extra response headers, e.g. `retry-after`.
    """

    status: int
    type: str
    message: str
    headers: dict[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """The JSON body, which is also the data of a mid-stream `error` event."""
        return {"type": "error", "error": {"type": self.type, "message": self.message}}


def invalid_request(message: str) -> ApiError:
    return ApiError(400, "invalid_request_error", message)
