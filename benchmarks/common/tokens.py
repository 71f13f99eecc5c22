"""What the same conversation costs in tokens, as the scripted model counts them: about four bytes each."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

from common.house import House, Task
from common.instance import REPOSITORY
from common.rows import Row, compared

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CALLS = 4
READ, WRITTEN = 0.1, 1.25
"""What a token read from or written to the cache costs, by one that is neither."""


def _spoken() -> list[dict[str, Any]]:
    """The conversation with calls in the API's form."""
    calls = [
        {
            "content": [
                {"type": "text", "text": f"Step {n}."},
                {"type": "tool_use", "name": "task", "input": _input(n)},
            ]
        }
        for n in range(CALLS)
    ]
    return [*calls, {"content": [{"type": "text", "text": "All is done."}]}]


def _as_text() -> list[dict[str, Any]]:
    """The same with calls in the model's text."""
    calls = [{"content": [{"type": "text", "text": f"Step {n}.\n{_xml(_input(n))}"}]} for n in range(CALLS)]
    return [*calls, {"content": [{"type": "text", "text": "All is done."}]}]


def _input(number: int) -> dict[str, str]:
    return {"id": f"c{number}", "text": "what has to be done " * 20}


def _xml(arguments: dict[str, str]) -> str:
    parameters = "".join(f'<parameter name="{name}">{text}</parameter>\n' for name, text in arguments.items())
    return f'<function_calls>\n<invoke name="task">\n{parameters}</invoke>\n</function_calls>'


@contextmanager
def _scripted() -> Iterator[str]:
    command = [sys.executable, "-m", "dcops.scripted_model", "--listen", "tcp:127.0.0.1:0"]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield "http://" + process.stdout.readline().split("tcp:")[1].strip()
        finally:
            process.kill()


async def _usage(
    directory: Path, url: str, key: str, replies: list[dict[str, Any]], **toggles: Any
) -> list[dict[str, Any]]:
    path = f"{url}/scripts/{hashlib.sha256(key.encode()).hexdigest()}"
    data = json.dumps({"replies": replies}).encode()
    request = Request(path, data, {"Content-Type": "application/json"}, method="PUT")
    await asyncio.to_thread(lambda: urlopen(request).close())
    house = House(
        directory / hashlib.sha256(key.encode()).hexdigest()[:8], url, Task("task"), key=key, **toggles
    )
    try:
        usage = house.usage(await house.turn("Do the steps. " * 100))
    finally:
        await house.close()
    if len(usage) != len(replies):
        raise RuntimeError(f"{key}: {len(usage)} replies instead of {len(replies)}")
    return usage


def _total(usage: list[dict[str, Any]]) -> float:
    """All tokens, whatever they cost."""
    kinds = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")
    return float(sum(each.get(kind) or 0 for each in usage for kind in kinds))


def _input_cost(usage: list[dict[str, Any]]) -> float:
    """Tokens of input by what they cost."""
    prices = {"input_tokens": 1.0, "cache_read_input_tokens": READ, "cache_creation_input_tokens": WRITTEN}
    return sum(price * (each.get(kind) or 0) for each in usage for kind, price in prices.items())


async def token_rows(directory: Path) -> list[Row]:
    """Streaming, caching and calls in the API's form, each beside its opposite."""
    with _scripted() as url:
        ours = await _usage(directory, url, "ours", _spoken())
        plain = await _usage(directory, url, "plain", _spoken(), use_unified_streaming=False)
        uncached = await _usage(directory, url, "uncached", _spoken(), use_prompt_caching=False)
        in_text = await _usage(directory, url, "text", _as_text(), use_xml_prompts=True)
    return [
        _row("tokens of a script, all", _total(ours), _total(plain), "use_unified_streaming: false"),
        _row("tokens of a script, all", _total(ours), _total(in_text), "use_xml_prompts: true"),
        _row(
            "cost of a script's input", _input_cost(ours), _input_cost(uncached), "use_prompt_caching: false"
        ),
    ]


def _row(name: str, ours: float, peer: float, peer_name: str) -> Row:
    return compared(name, "tokens", 1.0, [ours], peer=[peer], peer_name=peer_name, by_ratio=True)
