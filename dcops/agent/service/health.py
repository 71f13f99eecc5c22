"""What an instance tells its operators and anybody who opens its address."""

from __future__ import annotations

from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

from .errors import JSON
from .requests import instance_of

if TYPE_CHECKING:
    from starlette.requests import Request

_PAGE = Path(__file__).parents[1] / "page"
_PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


async def healthz(_request: Request) -> Response:
    """Whether the process answers at all."""
    return JSON({"status": "ok"})


async def readyz(request: Request) -> Response:
    """Whether turns can run: 200, or 503 with the reasons why not."""
    reasons = instance_of(request).reasons()
    return JSON({"reasons": reasons}, 503 if reasons else 200)


async def version(request: Request) -> Response:
    """What runs here."""
    return JSON({"release": instance_of(request).settings.release, "implementation": "agent"})


async def report(request: Request) -> Response:
    """The acknowledgements that dcops waits for: role, toggles, running turns, state."""
    return JSON(instance_of(request).report())


async def toggles(request: Request) -> Response:
    """The toggles in force, what running turns do not have yet, and what has no effect on the model."""
    return JSON(await instance_of(request).toggle_report())


async def metrics(request: Request) -> Response:
    """Counters for Prometheus."""
    instance = instance_of(request)
    instance.metrics.tokens(instance.journal.tokens_today(), instance.budget)
    return Response(instance.metrics.render(), media_type=instance.metrics.content_type)


async def page(request: Request) -> Response:
    """A page for people that says what this is and how to talk to it."""
    instance = instance_of(request)
    state = "ready"
    if reasons := instance.reasons():
        state = f"not ready: {'; '.join(reasons)}"
    elif instance.turns_off:
        state = "no new turns: they are switched off"
    text = Template((_PAGE / "index.html").read_text(encoding="utf-8")).substitute(
        environment=escape(instance.settings.environment),
        state="ready" if state == "ready" else "waiting",
        state_text=escape(state),
    )
    return Response(text, media_type="text/html", headers=_PAGE_HEADERS)


async def style(_request: Request) -> Response:
    """The page's style sheet."""
    return Response((_PAGE / "page.css").read_bytes(), media_type="text/css", headers=_PAGE_HEADERS)


ROUTES = [
    Route("/", page),
    Route("/page.css", style),
    Route("/healthz", healthz),
    Route("/readyz", readyz),
    Route("/version", version),
    Route("/metrics", metrics),
    Route("/v1/instance", report),
    Route("/v1/toggles", toggles),
]
