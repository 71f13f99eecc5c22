"""How long the main job takes: the command's start, a toggle's flip, a deploy, a rollback.

    benchmarks/main_job.py [--quick] [--json] [--engine process|docker]...

Each figure is a median, but for the flip's, which is the 95th percentile. The peer of the command's start is
the bare interpreter; the others have the target alone beside them.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from dcops.cli.wiring import make_world, probe_docker
from dcops.core.environment import Environment
from dcops.errors import DcopsError
from dcops.operations.current import observe
from dcops.operations.delivery import deliver
from dcops.operations.deploy import DeployRequest, deploy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dcops.operations.world import Place, World

REPOSITORY = Path(__file__).parents[1]
DCOPS = Path(sys.executable).with_name("dcops")
TARGETS = {"process": (0.6, 8.0), "docker": (0.9, 15.0)}  # seconds: a toggle command, a changed deploy


@dataclass(frozen=True)
class Row:
    """One figure; `holds` is None where it could not be measured, and `peer_name` then says why."""

    name: str
    ours: float | None
    unit: str
    target: float
    peer: float | None = None
    peer_name: str = ""
    ratio: float | None = None
    holds: bool | None = None


def held(name: str, ours: float, unit: str, target: float) -> Row:
    return Row(name, round(ours, 3), unit, target, holds=ours <= target)


def seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def run(*words: str, cwd: Path = REPOSITORY) -> float:
    """Wall time of a command that must succeed."""
    return seconds(lambda: subprocess.run(words, cwd=cwd, check=True, capture_output=True))


def start_of_the_command(times: int) -> Row:
    """Both by turns, so that a busy moment meets both."""
    pairs = [(run(str(DCOPS), "--help"), run(sys.executable, "-c", "pass")) for _ in range(times)]
    ours, peer = (statistics.median(each) for each in zip(*pairs, strict=True))
    ratio = ours / peer
    return Row(
        "dcops --help",
        round(ours * 1000, 1),
        "ms",
        6.0,
        peer=round(peer * 1000, 1),
        peer_name="python -c pass",
        ratio=round(ratio, 2),
        holds=ratio <= 6.0,
    )


class Bench:
    """A throw-away project that is deployed to one engine."""

    def __init__(self, root: Path, engine: str) -> None:
        self.root, self.engine = root, engine
        environment = root / "environments" / "dev"
        environment.mkdir(parents=True)
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / "dcops" / "agent", root / "agent", ignore=ignore)
        settings = {"engine": engine, "implementation": "agent", "model": "scripted"}
        (environment / "environment.yaml").write_text(yaml.safe_dump(settings))
        (environment / "toggles.yaml").write_text("thinking_budget: 2048\n")

    @property
    def world(self) -> World:
        return make_world(self.root, None)

    @property
    def place(self) -> Place:
        return self.world.open("dev")

    def dcops(self, *words: str) -> float:
        return run(str(DCOPS), *words, cwd=self.root)

    def change(self, number: int) -> None:
        with (self.root / "agent" / "__init__.py").open("a") as file:
            file.write(f"# Change {number}.\n")

    def deploy_changed(self, times: int) -> Row:
        """A changed implementation with the real command, all suites, dependencies in the cache."""
        taken = []
        for number in range(times):
            self.change(number)
            taken.append(self.dcops("deploy", "dev"))
        target = TARGETS[self.engine][1]
        return held(f"{self.engine}: deploy of a change", statistics.median(taken), "s", target)

    def rollback_to_warm(self, times: int) -> Row:
        """There and back again: each goes to the instance that the other one left warm."""
        taken = []
        for _ in range(times):
            taken.append(self.dcops("rollback", "--env", "dev"))
            self.change(int(time.time() * 1000))
            deploy(self.world, DeployRequest("dev"), lambda _plan: None)
        return held(f"{self.engine}: rollback to warm", statistics.median(taken), "s", 1.0)

    def toggle_command(self, times: int) -> Row:
        values = [str(3000 + number) for number in range(times)]
        taken = [self.dcops("toggle", "set", "thinking_budget", value, "--env", "dev") for value in values]
        target = TARGETS[self.engine][0]
        return held(f"{self.engine}: dcops toggle set", statistics.median(taken), "s", target)

    def flip(self, times: int) -> Row:
        """From just before the document is written until the serving instance says that it follows.

        That is more than from its rename, by the synced write and the engine's round trip.
        """
        place = self.place
        current = observe(place)
        record = current.records[current.serving]
        client = place.client(record)
        taken, state = [], current.toggles
        for number in range(times):
            state = state.next({**state.values, "thinking_budget": 5000 + number})
            began = time.perf_counter()
            deliver(place, state, [record])
            while client.instance()["toggles"]["generation"] < state.generation:
                time.sleep(0.002)
            taken.append(time.perf_counter() - began)
        worst = sorted(taken)[math.ceil(0.95 * times) - 1]
        return held(f"{self.engine}: flip to acknowledgement, p95 of {times}", worst * 1000, "ms", 150)


@contextmanager
def deployed(engine: str) -> Iterator[Bench]:
    root = Path(tempfile.mkdtemp(prefix="dcops-bench-"))
    bench = Bench(root, engine)
    try:
        bench.dcops("deploy", "dev")
        yield bench
    finally:
        place_engine = bench.place.engine if bench.world.local("dev").choice() else None
        if place_engine is not None:
            bench.dcops("down", "dev", "--with-data")
            for build in place_engine.builds():
                place_engine.remove_build(build)
        shutil.rmtree(root)


def of_engine(engine: str, *, quick: bool) -> list[Row]:
    missing = why_not(engine)
    if missing:
        toggle, change = TARGETS[engine]
        names = {"deploy of a change": ("s", change), "dcops toggle set": ("s", toggle)}
        names |= {"rollback to warm": ("s", 1.0), "flip to acknowledgement": ("ms", 150.0)}
        return [Row(f"{engine}: {name}", None, *unit, peer_name=missing) for name, unit in names.items()]
    with deployed(engine) as bench:
        return [
            bench.toggle_command(3 if quick else 11),
            bench.flip(20 if quick else 50),
            bench.deploy_changed(2 if quick else 5),
            bench.rollback_to_warm(2 if quick else 5),
        ]


def why_not(engine: str) -> str:
    """Why an engine cannot be measured here; empty when it can."""
    if engine == "process":
        return ""
    try:
        world = make_world(REPOSITORY, None)
        return probe_docker(world.project, Environment("dev", "docker", REPOSITORY))
    except DcopsError as error:
        return error.what


def show(rows: list[Row]) -> None:
    for row in rows:
        ours = "-" if row.ours is None else f"{row.ours:g} {row.unit}"
        peer = f"{row.peer_name} {row.peer:g} {row.unit}, x{row.ratio}" if row.peer else row.peer_name
        verdict = {True: "holds", False: "MISSED", None: "not measured"}[row.holds]
        print(f"{row.name:<48} {ours:>12}   target {row.target:g}   {verdict:<12} {peer}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--engine", action="append", choices=list(TARGETS), help="only this one; repeatable")
    options = parser.parse_args()
    rows = [start_of_the_command(5 if options.quick else 21)]
    for engine in options.engine or TARGETS:
        rows += of_engine(engine, quick=options.quick)
    if options.json:
        print(json.dumps({"schema": "dcops.benchmark/1", "rows": [asdict(row) for row in rows]}))
    else:
        show(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
