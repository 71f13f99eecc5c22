"""What the streaming loop gains and costs beside the SDK's tool runner, with the same replies of the model.

    benchmarks/loop.py [--quick] [--json]

The model is a process that plays prepared bytes on a clock, so that it is in nobody's way. Our loop runs with
its journal on disk in every figure; the crowd and the stops go through the real service over HTTP.
`--quick` takes a call's input of 200 KB in place of 1 MB, and fewer repetitions.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.crowd import PIECE, Crowd
from common.house import House, Task
from common.instance import running
from common.peers import SDK, read_cpu, tool_runner
from common.player import playing
from common.replies import Script
from common.rows import Row, command, compared, held
from common.tokens import token_rows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from common.instance import Instance
    from common.player import Model, Reply

TOOL_SECONDS = 3.0
SPOKEN = [Script().text(["done"]).end()]
CROWD, PACE = 200, 100
LONGEST_GAP = 0.1
GROUP = "group"


def percentile(values: Sequence[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def longest_gap(replies: Sequence[Sequence[float]]) -> float:
    """The longest silence within one of several replies, whose events came at those moments."""
    return max(later - earlier for moments in replies for earlier, later in pairwise(moments))


def call_input(call: str, size: int = 0) -> str:
    return json.dumps({"id": call, "text": "x" * size})


@asynccontextmanager
async def house(model: Model, name: str, *tools: Task, **toggles: Any) -> AsyncIterator[House]:
    """Our loop for the replies of one name."""
    with tempfile.TemporaryDirectory(prefix="dcops-bench-") as directory:
        opened = House(Path(directory) / "house", model.url(name), *tools, **toggles)
        await opened.transport.load()
        try:
            yield opened
        finally:
            await opened.close()


# Six calls while the model writes


def six_calls() -> list[Reply]:
    script = Script()
    for number in range(6):
        script.call(f"c{number}", "task", call_input(f"c{number}", 160), every=0.05)
    return [script.end("tool_use"), *SPOKEN]


async def overlap(model: Model) -> list[Row]:
    """The whole turn, and the longest silence while its reply comes, beyond the server's own."""
    async with house(model, "six", Task("task", TOOL_SECONDS)) as ours:
        began = time.monotonic()
        await ours.turn()
        seconds, gap = time.monotonic() - began, longest_gap(ours.transport.arrived)
    eager, late = await asyncio.gather(
        *(tool_runner(model.url("six"), TOOL_SECONDS, eager=eager) for eager in (True, False))
    )
    own = longest_gap([model.log("six")[0]["sent"]])
    wall = "six calls of 3 s over a 6 s stream"
    silence = ("six calls: longest gap in the stream", "ms", 1000 * LONGEST_GAP)
    return [
        compared(wall, "s", 9.2, [seconds], peer=[eager.seconds], peer_name=f"{SDK} runner, eager"),
        compared(wall, "s", 9.2, [seconds], peer=[late.seconds], peer_name=f"{SDK} runner"),
        compared(
            *silence,
            [1000 * max(0.0, gap - own)],
            peer=[1000 * max(0.0, longest_gap(eager.arrived) - own)],
            peer_name=f"{SDK} runner, eager",
        ),
    ]


# The first result of a long reply


def long_reply(seconds: float) -> list[Reply]:
    script = Script().call("c0", "task", call_input("c0"), every=0.05)
    return [script.text(["word "] * int(seconds / 0.05), every=0.05).end("tool_use"), *SPOKEN]


async def first_result(model: Model, seconds: float) -> list[Row]:
    async def ours(**toggles: Any) -> float:
        async with house(model, "long", Task("task", 0.1), **toggles) as opened:
            return await opened.until_result()

    early, late, peer = await asyncio.gather(
        ours(), ours(eager_tools="off"), tool_runner(model.url("long"), 0.1, eager=False)
    )
    name = f"first result of a {seconds:g} s reply"
    assert peer.first_result is not None
    return [
        compared(name, "s", 0.1, [early], peer=[late], peer_name="eager_tools: off", by_ratio=True),
        compared(name, "s", 0.1, [early], peer=[peer.first_result], peer_name=f"{SDK} runner", by_ratio=True),
    ]


# From a block's end to a tool's start


def many_calls(times: int) -> Script:
    script = Script()
    for number in range(times):
        name = "look" if number % 2 else "task"
        script.call(f"c{number}", name, call_input(f"c{number}")).wait(0.06)
    return script


async def starts(model: Model, script: Script) -> list[Row]:
    look, task = Task("look", readonly=True), Task("task")
    async with house(model, "starts", look, task) as ours:
        await ours.turn()
    sent = model.log("starts")[0]["sent"]
    sealed = [1000 * (at - sent[script.ends[call]]) for call, at in look.began.items()]
    confirmed = [1000 * (at - sent[script.ends[call] + 1]) for call, at in task.began.items()]
    return [
        compared("read-only tool's start after its block's end", "ms", 10.0, sealed),
        compared("other tool's start after what confirms it", "ms", 10.0, confirmed),
    ]


# A large input in small pieces


def large_call(size: int) -> list[Reply]:
    return [Script().call("c0", "task", call_input("c0", size)).end("tool_use"), *SPOKEN]


async def large_inputs(model: Model, *, quick: bool) -> list[Row]:
    async def cpu(name: str) -> float:
        async with house(model, name, Task("task")) as ours:
            ours.transport.watching = False
            began = time.process_time()
            await ours.turn()
            return time.process_time() - began

    few = [await cpu("200KB") for _ in range(3)]
    many = [await cpu("1MB") for _ in range(3)]
    name, mine = ("200KB", few) if quick else ("1MB", many)
    peer = await read_cpu(model.url(name))
    growth = [more / less for more, less in zip(sorted(many), sorted(few), strict=True)]
    return [
        compared(
            f"CPU of a call's input of {name}",
            "s",
            0.05,
            mine,
            peer=[peer],
            peer_name=f"{SDK} messages.stream",
            by_ratio=True,
        ),
        compared("growth of that from 200 KB to 1 MB", "x", 6.0, growth),
        await beside_large(model),
    ]


async def beside_large(model: Model) -> Row:
    """How late another session's events are while a large input comes."""
    async with house(model, "pace", Task("task")) as other, house(model, "1MB", Task("task")) as large:
        beside = asyncio.create_task(other.turn())
        await asyncio.sleep(1)
        other.transport.late.clear()
        await large.turn()
        late = list(other.transport.late)
    await asyncio.gather(beside, return_exceptions=True)  # its turn was interrupted with its house
    return held("p99 of another session's lag meanwhile", 1000 * percentile(late, 0.99), "ms", 20.0)


def paced(seconds: float) -> list[Reply]:
    return [Script().text([PIECE] * int(seconds * PACE), every=1 / PACE).end()]


# Two hundred sessions on one core


async def crowd(instance: Instance, seconds: float) -> list[Row]:
    idle = instance.memory()
    sessions = [instance.session() for _ in range(CROWD)]
    clients = Crowd(instance, sessions)
    await clients.connect()
    for session in sessions:  # one after the other, as people come
        await asyncio.to_thread(instance.turn, session, "go")
    await asyncio.sleep(2)
    text = clients.pieces * len(PIECE)  # their histories
    memory = (instance.memory() - idle - text) / CROWD / 1000
    clients.late.clear()
    pieces, cpu, began = clients.pieces, instance.cpu(), time.monotonic()
    await asyncio.sleep(seconds)
    pieces, cpu, taken = clients.pieces - pieces, instance.cpu() - cpu, time.monotonic() - began
    clients.close()
    kept = pieces / taken / (CROWD * PACE)
    name = f"{CROWD} sessions at {PACE} events/s on one core"
    return [
        held(f"{name}: p99 of the lag", 1000 * percentile(clients.late, 0.99), "ms", 100.0),
        held(f"{name}: CPU of an event", 1e6 * cpu / pieces, "us", 50.0),
        held(f"{name}: events that did not come", 100 * max(0.0, 1 - kept), "%", 1.0),
        held(f"{name}: memory of a session beside its text", memory, "KB", 120.0),
    ]


# Stop


def stops(directory: Path, model: Model, times: int) -> list[Row]:
    with running(directory / "silent", model.url("silent")) as instance:
        before = [1000 * stop_before_reply(instance, model) for _ in range(times)]
    with running(directory / "tool", model.url("tool")) as instance:
        inside = [1000 * stop_inside_tool(instance, directory / GROUP) for _ in range(times)]
    return [
        held("stop before the first byte: all closed (max)", max(before), "ms", 250.0),
        held("stop inside a tool: its processes dead (max)", max(inside), "ms", 250.0),
    ]


def wait_for(condition: Any, seconds: float = 20.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError("what the benchmark waits for does not come")
        time.sleep(0.002)
    return value


def stop_before_reply(instance: Instance, model: Model) -> float:
    """Seconds from the stop to the closed connection and the ended turn."""
    played = len(model.log("silent"))
    session = instance.session()
    instance.turn(session, "silent")
    wait_for(lambda: len(model.log("silent")) > played)
    began = time.monotonic()
    instance.stop(session)
    wait_for(lambda: instance.is_idle(session))
    ended = time.monotonic()
    closed = wait_for(lambda: model.log("silent")[-1]["closed"])
    return max(ended, closed) - began


def stop_inside_tool(instance: Instance, told: Path) -> float:
    """Seconds from the stop to the ended turn and the end of every process of the tool."""
    told.unlink(missing_ok=True)
    session = instance.session()
    instance.turn(session, "bash")
    group = int(wait_for(lambda: told.is_file() and told.read_text().strip()))
    began = time.monotonic()
    instance.stop(session)
    wait_for(lambda: instance.is_idle(session) and not lives(group))
    return time.monotonic() - began


def lives(group: int) -> bool:
    """Whether a process of a group runs; what is dead and waits for its parent to look does not."""
    for process in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _parent, its = process.read_text().rpartition(")")[2].split()[:3]
            if int(its) == group and state != "Z":
                return True
    return False


def hanging_command(told: Path) -> Reply:
    """Processes in front and behind; their group is written to a file."""
    command = f"sleep 1000 & cut -d' ' -f5 /proc/$$/stat > {told}; sleep 1000"
    return Script().call("c0", "bash", json.dumps({"command": command})).end("tool_use")


# All of it


async def in_process(model: Model, script: Script, *, quick: bool, seconds: float) -> list[Row]:
    rows = await starts(model, script)
    rows += await overlap(model)
    rows += await first_result(model, seconds)
    rows += await large_inputs(model, quick=quick)
    return rows


def one_core() -> tuple[list[str], list[str], int]:
    """Commands that keep the agent to one core and the model to another, and the core of the clients."""
    cores = sorted(os.sched_getaffinity(0))
    return ["taskset", "-c", str(cores[0])], ["taskset", "-c", str(cores[-1])], cores[-1]


def over_http(directory: Path, *, quick: bool) -> list[Row]:
    ours, theirs, core = one_core()
    seconds = 10.0 if quick else 30.0
    replies = {
        "pace": paced(seconds + 30),
        "silent": [Script(after=60).end()],
        "tool": [hanging_command(directory / GROUP)],
    }
    everywhere = os.sched_getaffinity(0)
    with playing(directory, replies, *theirs) as model:
        os.sched_setaffinity(0, {core})
        with running(directory / "crowd", model.url("pace"), *ours) as instance:
            rows = asyncio.run(crowd(instance, seconds))
        os.sched_setaffinity(0, everywhere)
        return rows + stops(directory, model, 6 if quick else 24)


def measured(*, quick: bool) -> list[Row]:
    seconds, script = (8.0 if quick else 30.0), many_calls(40 if quick else 100)
    replies = {
        "six": six_calls(),
        "long": long_reply(seconds),
        "starts": [script.end("tool_use"), *SPOKEN],
        "200KB": large_call(200_000),
        "1MB": large_call(1_000_000),
        "pace": paced(60),
    }
    with tempfile.TemporaryDirectory(prefix="dcops-bench-") as directory:
        with playing(Path(directory), replies) as model:
            rows = asyncio.run(in_process(model, script, quick=quick, seconds=seconds))
        rows += asyncio.run(token_rows(Path(directory)))
        return rows + over_http(Path(directory), quick=quick)


if __name__ == "__main__":
    sys.exit(command(__doc__ or "", measured, "a smaller input, shorter replies, less often"))
