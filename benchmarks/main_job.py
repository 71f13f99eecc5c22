"""How long the main job takes: the command's start, a toggle's flip, a deploy, a rollback.

    benchmarks/main_job.py [--quick] [--json] [--engine process|docker]...

Each figure is a median, but for the flip's, which is the 95th percentile. The peer of the command's start is
the bare interpreter; the others have the target alone beside them.
"""

from __future__ import annotations

import argparse
import math
import sys
import time

from common.project import DCOPS, Trial, deployed, run, why_not
from common.rows import Row, compared, held, report, warn_if_busy

from dcops.operations.current import observe
from dcops.operations.delivery import deliver
from dcops.operations.deploy import DeployRequest, deploy

TARGETS = {"process": (0.6, 8.0), "docker": (0.9, 15.0)}  # seconds: a toggle command, a changed deploy


def start_of_the_command(times: int) -> Row:
    """Both by turns, so that a busy moment meets both."""
    pairs = [(run(str(DCOPS), "--help"), run(sys.executable, "-c", "pass")) for _ in range(times)]
    ours, peer = ([1000 * each for each in taken] for taken in zip(*pairs, strict=True))
    return compared("dcops --help", "ms", 6.0, ours, peer=peer, peer_name="python -c pass", by_ratio=True)


def deploy_changed(trial: Trial, times: int) -> Row:
    """A changed implementation with the real command, all suites, dependencies in the cache."""
    taken = []
    for number in range(times):
        trial.change(f"Change {number}.")
        taken.append(trial.dcops("deploy", "dev"))
    return compared(f"{trial.engine}: deploy of a change", "s", TARGETS[trial.engine][1], taken)


def rollback_to_warm(trial: Trial, times: int) -> Row:
    """There and back again: each goes to the instance that the other one left warm."""
    taken = []
    for number in range(times):
        taken.append(trial.dcops("rollback", "--env", "dev"))
        trial.change(f"After rollback {number}.")
        deploy(trial.world, DeployRequest("dev"), lambda _plan: None)
    return compared(f"{trial.engine}: rollback to warm", "s", 1.0, taken)


def toggle_command(trial: Trial, times: int) -> Row:
    values = [str(3000 + number) for number in range(times)]
    taken = [trial.dcops("toggle", "set", "thinking_budget", value, "--env", "dev") for value in values]
    return compared(f"{trial.engine}: dcops toggle set", "s", TARGETS[trial.engine][0], taken)


def flip(trial: Trial, times: int) -> Row:
    """From just before the document is written until the serving instance says that it follows.

    That is more than from its rename, by the synced write and the engine's round trip.
    """
    place = trial.place
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
    return held(f"{trial.engine}: flip to acknowledgement, p95 of {times}", worst * 1000, "ms", 150)


def of_engine(engine: str, *, quick: bool) -> list[Row]:
    missing = why_not(engine)
    if missing:
        toggle, change = TARGETS[engine]
        names = {"deploy of a change": ("s", change), "dcops toggle set": ("s", toggle)}
        names |= {"rollback to warm": ("s", 1.0), "flip to acknowledgement": ("ms", 150.0)}
        return [Row(f"{engine}: {name}", None, *unit, peer_name=missing) for name, unit in names.items()]
    with deployed(engine) as trial:
        return [
            toggle_command(trial, 3 if quick else 11),
            flip(trial, 20 if quick else 50),
            deploy_changed(trial, 2 if quick else 5),
            rollback_to_warm(trial, 2 if quick else 5),
        ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--engine", action="append", choices=list(TARGETS), help="only this one; repeatable")
    options = parser.parse_args()
    warn_if_busy()
    rows = [start_of_the_command(5 if options.quick else 21)]
    for engine in options.engine or TARGETS:
        rows += of_engine(engine, quick=options.quick)
    report(rows, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
