"""The way to the Messages API: the only importer of the SDK, and only when it is asked to load."""

from __future__ import annotations

import asyncio
import gc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson

from .events import Fault
from .sse import Decoder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx2

CONNECT = 10.0
"""Seconds to reach the API."""

SILENCE = 90.0
"""Seconds without a byte until a stream counts as broken; the API sends pings in between."""


class Transport:
    """One HTTP client for all turns."""

    def __init__(self, base_url: str | None, api_key: str) -> None:
        """Takes where the API is (None: the SDK's default) and the key; loads nothing yet."""
        self._base_url = base_url
        self._api_key = api_key
        self._sdk: Any = None
        self._client: Any = None

    @property
    def loaded(self) -> bool:
        """Whether turns can be run."""
        return self._client is not None

    async def load(self) -> None:
        """Imports the SDK in a thread (it takes a second or more of CPU) and makes the client."""
        if not self.loaded:
            await asyncio.to_thread(self._load)

    def _load(self) -> None:
        gc.disable()  # hundreds of classes come to stay: looking for garbage among them costs a tenth more
        try:
            import anthropic  # noqa: PLC0415 - the service listens before this
            import httpx2  # noqa: PLC0415
        finally:
            gc.enable()
        gc.freeze()  # nor is any of it looked at later

        self._sdk = anthropic
        self._client = anthropic.AsyncAnthropic(
            base_url=self._base_url,
            api_key=self._api_key,
            timeout=httpx2.Timeout(SILENCE, connect=CONNECT),
        )

    @asynccontextmanager
    async def stream(self, request: dict[str, Any]) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """Sends a request; the events of the reply as the API words them, pings and errors included.

        Before the stream begins the SDK repeats what is worth repeating (overload, rate limits, connections).
        Leaving the context closes the connection, which also stops the model.

        Raises:
            Fault: refused, unreachable, or broken off.
        """
        await self.load()
        begun = False
        try:
            async with self._client.messages.with_streaming_response.create(**request, stream=True) as reply:
                begun = True
                yield self._events(reply.http_response)
        except self._sdk.APIStatusError as error:
            raise _refused(error) from error
        except (self._sdk.APIError, OSError) as error:
            raise Fault("connection_error", _reason(error), mid_stream=begun) from error

    async def _events(self, response: httpx2.Response) -> AsyncIterator[dict[str, Any]]:
        import httpx2  # noqa: PLC0415

        try:
            decoder = Decoder()
            async for chunk in response.aiter_bytes():
                for event in decoder.feed(chunk):
                    yield event
            for event in decoder.end():
                yield event
        except httpx2.ReadTimeout as error:
            raise Fault(
                "stream_stalled", f"the model was silent for {SILENCE:g} s", mid_stream=True
            ) from error
        except (httpx2.HTTPError, orjson.JSONDecodeError) as error:
            raise Fault(
                "stream_broken", f"the stream broke off: {_reason(error)}", mid_stream=True
            ) from error

    async def close(self) -> None:
        """Closes the client's connections."""
        if self._client is not None:
            await self._client.close()


def _refused(error: Any) -> Fault:
    body = error.body if isinstance(error.body, dict) else {}
    told = body.get("error")
    if not isinstance(told, dict):
        told = {}
    return Fault(str(told.get("type") or f"http_{error.status_code}"), str(told.get("message") or error))


def _reason(error: BaseException) -> str:
    cause = error.__cause__ or error
    return f"{cause}" or type(cause).__name__
