"""The routes: the Messages API, the scripts, and what an engine asks of an instance."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import orjson
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from . import models
from .errors import ApiError
from .fields import ScriptError
from .messages import count_tokens, create_message
from .script_reader import parse_script

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from .callers import Caller
    from .state import State

_NO_TOGGLES = {"generation": 0, "digest": hashlib.sha256(b"{}").hexdigest(), "error": None}


def make_app(state: State) -> Starlette:
    """The ASGI application over one state."""
    routes = [
        Route("/v1/messages", create_message, methods=["POST"]),
        Route("/v1/messages/count_tokens", count_tokens, methods=["POST"]),
        Route("/v1/models", list_models),
        Route("/v1/models/{id}", get_model),
        Route("/scripts/{name}", put_script, methods=["PUT"]),
        Route("/scripts/{name}", get_script, methods=["GET"]),
        Route("/scripts/{name}", delete_script, methods=["DELETE"]),
        Route("/scripts/{name}/requests", get_requests),
        Route("/scripts/{name}/gates/{gate}", open_gate, methods=["POST"]),
        Route("/v1/instance", instance),
        Route("/version", version),
        Route("/healthz", ready),
        Route("/readyz", ready),
    ]
    app = Starlette(routes=routes, exception_handlers={ApiError: _api_error, ScriptError: _script_error})
    app.state.model = state
    return app


async def list_models(_: Request) -> Response:
    return JSONResponse(models.page())


async def get_model(http: Request) -> Response:
    name = http.path_params["id"]
    if name not in models.MODELS:
        raise ApiError(404, "not_found_error", f"model: {name}")
    return JSONResponse(models.MODELS[name])


async def put_script(http: Request) -> Response:
    """Give a caller a script; what it had before is forgotten."""
    name = http.path_params["name"]
    if len(name) != 64 or not set(name) <= set("0123456789abcdef"):
        raise ScriptError("", "is addressed by the sha256 of a key: 64 lower-case hex digits")
    try:
        document = orjson.loads(await http.body())
    except orjson.JSONDecodeError as error:
        raise ScriptError("", f"is not JSON: {error}") from None
    return JSONResponse(_state(http).callers.put(name, parse_script(document)).state())


async def get_script(http: Request) -> Response:
    return JSONResponse(_caller(http).state())


async def delete_script(http: Request) -> Response:
    _caller(http)
    _state(http).callers.drop(http.path_params["name"])
    return JSONResponse({})


async def get_requests(http: Request) -> Response:
    """What a caller has sent since its script was set, the refused requests too."""
    return JSONResponse({"requests": list(_caller(http).requests)})


async def open_gate(http: Request) -> Response:
    caller = _caller(http)
    caller.gates.open(http.path_params["gate"])
    return JSONResponse(caller.gates.state())


async def instance(http: Request) -> Response:
    """What an engine asks of every instance; this one has neither toggles nor roles."""
    state = _state(http)
    answer: dict[str, Any] = {
        "instance": state.instance,
        "release": state.release,
        "role": "model",
        "role_acknowledged": "model",
        "toggles": _NO_TOGGLES,
        "running_turns": len(state.running),
        "draining_done": not state.running,
    }
    return JSONResponse(answer)


async def version(http: Request) -> Response:
    return JSONResponse({"release": _state(http).release, "implementation": "scripted_model"})


async def ready(_: Request) -> Response:
    return JSONResponse({"reasons": []})


def _state(http: Request) -> State:
    state: State = http.app.state.model
    return state


def _caller(http: Request) -> Caller:
    name = http.path_params["name"]
    caller = _state(http).callers.find(name)
    if caller is None:
        raise ApiError(404, "not_found_error", f"script: {name}")
    return caller


async def _api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return JSONResponse(error.body(), error.status, error.headers)


async def _script_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ScriptError)
    return JSONResponse({"error": {"code": "bad_script", "path": error.path, "message": str(error)}}, 400)
