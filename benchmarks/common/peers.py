"""The SDK's own ways to run tools and to read a stream, for the same replies."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import anthropic
from common.replies import MODEL

SDK = f"SDK {version('anthropic')}"
_ASKED: list[Any] = [{"role": "user", "content": "go"}]


@dataclass
class Ran:
    """One run of the tool runner.

    Attributes:
        seconds: In all.
        first_result: Seconds until the first tool had run.
        arrived: When each event came, a list for each reply.
    """

    seconds: float = 0.0
    first_result: float | None = None
    arrived: list[list[float]] = field(default_factory=list)


async def tool_runner(base_url: str, seconds: float, *, eager: bool) -> Ran:
    """A turn of the SDK's tool runner with a tool `task` that takes so many seconds."""
    ran, began = Ran(), time.monotonic()

    async def task(id: str, text: str = "") -> str:  # noqa: A002, ARG001
        """Waits."""
        await asyncio.sleep(seconds)
        if ran.first_result is None:
            ran.first_result = time.monotonic() - began
        return "done"

    async with anthropic.AsyncAnthropic(base_url=base_url, api_key="none") as client:
        runner = client.beta.messages.tool_runner(
            model=MODEL,
            max_tokens=1000,
            messages=_ASKED,
            tools=[anthropic.beta_async_tool(task)],
            stream=True,
            run_tools_eagerly=eager,
        )
        async for stream in runner:
            ran.arrived.append([time.monotonic() async for _ in stream])
    ran.seconds = time.monotonic() - began
    return ran


async def read_cpu(base_url: str) -> float:
    """Seconds of CPU that `messages.stream` takes to read one reply."""
    async with anthropic.AsyncAnthropic(base_url=base_url, api_key="none") as client:
        began = time.process_time()
        async with client.messages.stream(model=MODEL, max_tokens=1000, messages=_ASKED) as stream:
            async for _ in stream:
                pass
        return time.process_time() - began
