"""The way to the Messages API: the only importer of the SDK, and only when it is asked to load."""

from __future__ import annotations

import asyncio
import gc
import math
import time
from contextlib import asynccontextmanager, suppress
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import orjson

from ..events import Fault
from .catalogue import Catalogue
from .sse import Decoder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    import httpx2

    from .request import Request

CONNECT = 10.0
"""Seconds to reach the API."""

END = 0.1
"""Seconds from the reply's last event to the end of its stream; then the connection is given up."""

WHOLE = 600.0
"""Seconds that a reply which comes whole may take, at least."""

TOKENS_PER_SECOND = 128_000 / 3600
"""Of a slow model: what a large reply may take in all is reckoned from its `max_tokens`."""


class Transport:
    """One HTTP client for all turns.

    Attributes:
        catalogue: the limits of models, asked by this client.
    """

    def __init__(self, base_url: str | None, api_key: str) -> None:
        """Takes where the API is (None: the SDK's default) and the key; loads nothing yet."""
        self._base_url = base_url
        self._api_key = api_key
        self._sdk: Any = None
        self._client: Any = None
        self._loading = asyncio.Lock()
        self.catalogue = Catalogue(self._describe)

    @property
    def loaded(self) -> bool:
        """Whether turns can be run."""
        return self._client is not None

    async def load(self) -> None:
        """Imports the SDK in a thread (it takes a second or more of CPU) and makes the client."""
        async with self._loading:
            if not self.loaded:
                await asyncio.to_thread(self._load)

    def _load(self) -> None:
        gc.disable()  # hundreds of classes come to stay: looking for garbage among them costs a tenth more
        try:
            import anthropic  # noqa: PLC0415 - the service listens before this
            import httpx2  # noqa: PLC0415

            from .wire import Wire  # noqa: PLC0415
        finally:
            gc.enable()
        gc.freeze()  # nor is any of it looked at later
        gc.set_threshold(10_000, 10, 10)  # nor at the rest that often: each look holds up all sessions

        self._sdk = anthropic
        self._client = anthropic.AsyncAnthropic(
            base_url=self._base_url,
            api_key=self._api_key,
            max_retries=0,  # a turn shows its retries, and can be stopped in between
            timeout=httpx2.Timeout(None, connect=CONNECT),  # silence is told by events, not by bytes
            http_client=anthropic.DefaultAsyncHttpxClient(mounts={"http://": Wire()}),
        )

    @asynccontextmanager
    async def stream(self, request: Request, stall: float) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """Sends a request; the events of the reply as the API words them, pings and errors included.

        Leaving the context ends the reply: if more of it comes, the connection is closed, which also stops
        the model.

        Args:
            request: its body, and the betas that it names.
            stall: seconds without any event after which the stream counts as broken.

        Raises:
            Fault: refused, unreachable, silent, or broken off; the request was sent once.
        """
        await self.load()
        begun = False
        try:
            async with asyncio.timeout(stall) as limit, self._sent(request, stream=True) as response:
                begun = True
                events = self._events(response, limit, stall)
                yield events
                await _exhaust(events)
        except TimeoutError as error:
            if limit.expired():
                message = f"the model was silent for {stall:g} s"
                raise Fault("stream_stalled", message, mid_stream=begun) from error
            raise Fault("connection_error", _reason(error), mid_stream=begun) from error
        except OSError as error:
            raise Fault("connection_error", _reason(error), mid_stream=begun) from error

    async def whole(self, request: Request) -> dict[str, Any]:
        """Sends a request, and returns the reply once all of it is there, as the API words it.

        Raises:
            Fault: refused, unreachable, no reply of the API, or too late; the request was sent once.
        """
        await self.load()
        seconds = max(WHOLE, request.body["max_tokens"] / TOKENS_PER_SECOND)
        try:
            async with asyncio.timeout(seconds) as limit, self._sent(request, stream=False) as response:
                reply = orjson.loads(await response.aread())
        except TimeoutError as error:
            code = "reply_timeout" if limit.expired() else "connection_error"
            raise Fault(code, f"the reply did not come within {seconds:g} s") from error
        except orjson.JSONDecodeError as error:
            raise Fault("stream_broken", f"the reply is not JSON: {error}") from error
        except OSError as error:
            raise Fault("connection_error", _reason(error)) from error
        if not _is_message(reply):
            raise Fault("protocol_error", "what came is no message of the API")
        return dict(reply)

    @asynccontextmanager
    async def _sent(self, request: Request, *, stream: bool) -> AsyncIterator[httpx2.Response]:
        import httpx2  # noqa: PLC0415

        response = None
        try:
            # Of what the SDK answers only this is kept: the rest has the request, several times over.
            response = (
                await self._client.messages.with_raw_response.create(
                    **request.body,
                    stream=stream,
                    extra_headers={"anthropic-beta": ",".join(request.betas)} if request.betas else None,
                    timeout=httpx2.Timeout(None, connect=CONNECT),
                )
            ).http_response
            yield response
        except self._sdk.APIStatusError as error:
            raise _refused(error) from error
        except self._sdk.APIError as error:
            raise Fault("connection_error", _reason(error)) from error
        except httpx2.HTTPError as error:
            begun = response is not None
            raise Fault(
                "stream_broken", f"the reply broke off: {_reason(error)}", mid_stream=begun
            ) from error
        finally:
            if response is not None:
                await response.aclose()

    async def _events(
        self, response: httpx2.Response, limit: asyncio.Timeout, stall: float
    ) -> AsyncIterator[dict[str, Any]]:
        clock = asyncio.get_running_loop().time
        patience = stall / 10  # what setting the alarm for each event would cost, is saved
        heard = -math.inf  # the first event sets the alarm anew: the head may have taken most of the time
        decoder = Decoder()
        try:
            async for chunk in response.aiter_bytes():
                for event in decoder.feed(chunk):
                    yield event
                    if clock() - heard > patience:
                        heard = clock()
                        limit.reschedule(heard + patience + stall)
            for event in decoder.end():
                yield event
        except orjson.JSONDecodeError as error:
            raise Fault(
                "stream_broken", f"the stream broke off: {_reason(error)}", mid_stream=True
            ) from error

    async def _describe(self, model: str) -> Mapping[str, Any]:
        await self.load()
        answer: dict[str, Any] = await self._client.get(f"/v1/models/{model}", cast_to=object)
        return answer

    async def close(self) -> None:
        """Closes the client's connections."""
        if self._client is not None:
            await self._client.close()


async def _exhaust(events: AsyncIterator[dict[str, Any]]) -> None:
    """Reads to the end of a stream, if it is there: then its connection serves the next request, too."""
    import httpx2  # noqa: PLC0415

    with suppress(TimeoutError, Fault, httpx2.HTTPError):  # how it ends is nobody's concern any more
        async with asyncio.timeout(END):
            async for _ in events:
                pass


def _refused(error: Any) -> Fault:
    body = error.body if isinstance(error.body, dict) else {}
    told = body.get("error")
    if not isinstance(told, dict):
        told = {}
    message = str(told.get("message") or error)
    seconds = _retry_after(error.response.headers)
    if seconds is not None and seconds >= 1:
        message += f" (it asks to wait {seconds:g} s)"
    said = error.response.headers.get("x-should-retry")
    passing = said == "true" if said in {"true", "false"} else _is_passing(error.status_code)
    code = str(told.get("type") or f"http_{error.status_code}")
    return Fault(code, message, passing=passing, retry_after=seconds)


def _is_passing(status: int) -> bool:
    return status in {408, 409, 429} or status >= 500


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """In how many seconds the API wants to be asked again, if it says so: as a number or as a time."""
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        with suppress(ValueError):
            if math.isfinite(number := float(headers.get(name, "nan"))):
                return max(number / unit, 0.0)
    with suppress(ValueError):
        return max(parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - time.time(), 0.0)
    return None


def _is_message(reply: Any) -> bool:
    blocks = reply.get("content") if isinstance(reply, dict) else None
    return isinstance(blocks, list) and all(
        isinstance(block, dict) and isinstance(block.get("type"), str) for block in blocks
    )


def _reason(error: BaseException) -> str:
    cause = error.__cause__ or error
    return f"{cause}" or type(cause).__name__
