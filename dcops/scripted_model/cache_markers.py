"""What the API refuses about `cache_control`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST = 4


def cache_problems(request: dict[str, Any]) -> Iterator[str]:
    """The problems of a request whose shape is right already."""
    markers = [marker for _, marker in _marked(request)]
    if isinstance(request.get("cache_control"), dict):
        markers.append(request["cache_control"])
    if len(markers) > _MOST:
        yield f"A maximum of {_MOST} blocks with cache_control may be provided. Found {len(markers)}."
    for path, marker in _marked(request):
        if not isinstance(marker, dict) or marker.get("type") != "ephemeral":
            yield f"{path}.cache_control.type: Input should be 'ephemeral'"
        elif marker.get("ttl", "5m") not in ("5m", "1h"):
            yield f"{path}.cache_control.ephemeral.ttl: Input should be '5m' or '1h'"
    lives = [marker.get("ttl", "5m") for marker in markers if isinstance(marker, dict)]
    if "5m" in lives and "1h" in lives[lives.index("5m") :]:
        yield "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block."
    for path, block in _blocks(request):
        if block.get("cache_control") and block.get("type") == "text" and not block.get("text"):
            yield f"{path}.text: cache_control cannot be set for empty text blocks"


def _marked(request: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for path, block in _blocks(request):
        if block.get("cache_control") is not None:
            yield path, block["cache_control"]


def _blocks(request: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Everything that can carry a marker, in the order in which the API reads it."""
    for n, tool in enumerate(request.get("tools") or ()):
        yield f"tools.{n}", tool
    yield from _listed(request.get("system"), "system")
    for n, message in enumerate(request["messages"]):
        for path, block in _listed(message.get("content"), f"messages.{n}.content"):
            yield from _listed(block.get("content"), f"{path}.{block.get('type')}.content")
            yield path, block


def _listed(content: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for n, block in enumerate(content if isinstance(content, list) else ()):
        if isinstance(block, dict):
            yield f"{path}.{n}", block
