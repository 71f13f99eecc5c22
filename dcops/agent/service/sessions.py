"""Conversations over HTTP: sessions, their turns, their events and outputs."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from starlette.responses import FileResponse, Response
from starlette.routing import Route

from ..journal.records import NoSession, TurnRunning
from ..toggles import ToggleError
from .errors import JSON, ServiceError, busy, no_session
from .requests import bad, cursor, idempotency_key, instance_of, json_object, text_field
from .sse import EventStream

if TYPE_CHECKING:
    from starlette.requests import Request

    from .instance import Instance

LONGEST_TITLE = 200
CONTROLS = ("stop", "pause", "resume", "steer")


def _id(request: Request) -> str:
    return str(request.path_params["session"])


def _overrides(instance: Instance, body: dict[str, Any]) -> dict[str, Any]:
    toggles = instance.toggles
    values = toggles.current.values if toggles.current else toggles.schema.complete({})
    try:
        return toggles.schema.check_own(body["toggles"], values)
    except ToggleError as error:
        raise bad(f"The toggles are not valid: {error}.", "GET /v1/toggles shows what there is.") from None


async def create(request: Request) -> Response:
    """Make a session, with values of its own for some toggles."""
    instance = instance_of(request)
    body = await json_object(request, allowed={"toggles", "synthetic"})
    toggles = _overrides(instance, body) if "toggles" in body else {}
    synthetic = body.get("synthetic", False)
    if not isinstance(synthetic, bool):
        raise bad("'synthetic' is neither true nor false.", "Leave it out for an ordinary session.")
    session = await instance.journal.submit(
        lambda: instance.journal.create_session(toggles, synthetic=synthetic)
    )
    return JSON({"id": session}, 201)


async def list_all(request: Request) -> Response:
    """All sessions, newest first."""
    journal = instance_of(request).journal

    def answer() -> Response:
        return JSON([asdict(session) for session in journal.list_sessions()])

    return await asyncio.to_thread(answer)  # thousands of sessions must not hold up the others' streams


async def show(request: Request) -> Response:
    """One session."""
    return JSON(asdict(instance_of(request).session(_id(request))))


async def change(request: Request) -> Response:
    """Change a session's title, or the toggles that it has values of its own for."""
    instance, session = instance_of(request), _id(request)
    body = await json_object(request, allowed={"title", "toggles"})
    values: dict[str, Any] = {}
    if "title" in body:
        values["title"] = text_field(body, "title")[:LONGEST_TITLE]
    if "toggles" in body:
        values["toggles"] = _overrides(instance, body)
    try:
        await instance.journal.submit(lambda: instance.journal.update_session(session, **values))
    except NoSession:
        raise no_session(session) from None
    return JSON(asdict(instance.session(session)))


async def delete(request: Request) -> Response:
    """Remove a session with everything said in it, its outputs and its workspace."""
    instance, session = instance_of(request), _id(request)
    try:
        await instance.removal.remove(session)
    except NoSession:
        raise no_session(session) from None
    except TurnRunning as error:
        raise busy(error.turn) from None
    return Response(status_code=204)


async def start_turn(request: Request) -> Response:
    """Start a turn with the user's input; its events come in the session's stream."""
    text = text_field(await json_object(request, allowed={"input"}), "input")
    turn = await instance_of(request).start_turn(_id(request), text, idempotency_key(request))
    return JSON({"turn": turn.id}, 202)


async def control(request: Request) -> Response:
    """Stop, pause, resume or steer the running turn, whichever instance runs it."""
    instance, session = instance_of(request), instance_of(request).session(_id(request)).id
    kind = request.url.path.rpartition("/")[2]
    body = await json_object(request, allowed={"input"} if kind == "steer" else set())
    payload = {"input": text_field(body, "input")} if kind == "steer" else {}
    turn = await instance.journal.submit(lambda: instance.journal.request_control(session, kind, payload))
    if turn is None and kind != "stop":
        raise ServiceError(409, "no_turn", "No turn is running in this session.", "Start one first.")
    return JSON({"turn": turn}, 202 if turn else 200)


async def events(request: Request) -> Response:
    """The session's events as SSE, from where the client left."""
    instance = instance_of(request)
    session = instance.session(_id(request))
    if request.method == "HEAD":  # an answer without a body must not wait for events
        return Response(media_type="text/event-stream")
    # Beyond the end is a cursor from another journal, one restored say: what comes now is news all the same.
    return EventStream(instance, session.id, min(cursor(request), session.last_seq)).response()


async def output(request: Request) -> Response:
    """The full output of a tool call, as text."""
    instance, call = instance_of(request), str(request.path_params["call"])
    path = instance.journal.output_path(instance.session(_id(request)).id, call)
    if not path.is_file():
        raise ServiceError(404, "no_output", f"The call {call} wrote no output.", "Check the call's id.")
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
    return FileResponse(path, media_type="text/plain; charset=utf-8", headers=headers)


_SESSION = "/v1/sessions/{session}"

ROUTES = [
    Route("/v1/sessions", list_all),
    Route("/v1/sessions", create, methods=["POST"]),
    Route(_SESSION, show),
    Route(_SESSION, change, methods=["PATCH"]),
    Route(_SESSION, delete, methods=["DELETE"]),
    Route(f"{_SESSION}/turns", start_turn, methods=["POST"]),
    Route(f"{_SESSION}/events", events),
    Route(f"{_SESSION}/outputs/{{call}}", output),
    *(Route(f"{_SESSION}/{kind}", control, methods=["POST"]) for kind in CONTROLS),
]
