"""The service as an ASGI application: routes, the guard before them, errors as JSON."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from . import agui, health, sessions
from .auth import Guard
from .errors import ServiceError, unwritten

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from .instance import Instance

log = structlog.get_logger()

_BUGS = (sqlite3.IntegrityError, sqlite3.ProgrammingError)  # of the others the disk or the file is the cause
_DO = {
    404: "See the agent's HTTP API in the documentation.",
    405: "Use one of the methods in the Allow header.",
}


def _service_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    return error.response()


def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    do = _DO.get(error.status_code, "Check the request.")
    code = error.detail.lower().replace(" ", "_")
    return ServiceError(error.status_code, code, f"{error.detail}.", do, headers=error.headers).response()


def _journal_error(_request: Request, error: Exception) -> Response:
    if isinstance(error, _BUGS):
        raise error
    log.error("journal.unavailable", error=str(error))
    return unwritten(str(error)).response()


def _bug(_request: Request, _error: Exception) -> Response:  # the server logs it
    return ServiceError(500, "internal", "The agent failed.", "See its log (`dcops logs`).").response()


ROUTES = [*health.ROUTES, *sessions.ROUTES, *agui.ROUTES]


def build_app(instance: Instance) -> Starlette:
    """The application that serves one instance."""
    app = Starlette(
        routes=ROUTES,
        middleware=[Middleware(Guard, access=instance.access)],
        exception_handlers={
            ServiceError: _service_error,
            HTTPException: _http_error,
            sqlite3.DatabaseError: _journal_error,
            Exception: _bug,
        },
    )
    app.state.instance = instance
    return app
