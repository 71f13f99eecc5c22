"""What a deploy costs beside `docker-compose up -d` of the same image: time, silence, failed requests.

    benchmarks/deploy.py [--quick] [--json]

Both sides change one byte of the shipped agent, and change it back. Both have the images already: the time to
make one is in neither figure. Ours takes the backup, switches and smokes; verification is off. Both are timed
by the same client, from the command to the first answer of the new release through the published port.
A second deploy of each is probed by several clients, each every 5 ms. A third one is under traffic: POSTs on
new and on kept connections, and event streams, some of running turns.

Needs Docker and docker-compose (Debian: apt-get install docker-compose); without one of them the rows say so.
"""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from common.compose import Compose, compose_command
from common.probes import Probes
from common.project import DCOPS, CommandFailed, deployed, run, why_not
from common.rows import Row, command, compared

from dcops.client import Client
from dcops.operations.current import observe
from dcops.operations.steps.backup import take
from tests.end_to_end.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from common.project import Trial

POSTING, STREAMS, BUSY = 6, 10, 4
WORK = "run: for i in 1 2 3 4 5; do echo step $i; sleep 0.2; done"
SETTLED_SECONDS = 0.3
EARLIER = (2, 10, 100)

# name, unit, target
FIRST_ANSWER = ("deploy: command to the new release's first answer", "s", 1.5)
READY = ("deploy: command to the new release taking work", "s", 1.5)
SILENCE = ("deploy: longest time without an answer", "ms", 50.0)
FAILED = ("deploy under traffic: failed requests", "", 0.0)
CUT = ("deploy under traffic: cut event streams", "", 0.0)
ROLLBACK = ("rollback to warm", "s", 1.0)
PLAN = ("plan of what is unchanged", "s", 0.5)
GROWTH = 1.25


class Side(Protocol):
    """One way to deploy, with two releases that it deploys by turns."""

    url: str
    directory: Path

    def next(self) -> tuple[list[str], str]:
        """Write the other release; returns the command that makes it serve, and its id."""


class Ours:
    """dcops, with two releases whose builds are there."""

    def __init__(self, trial: Trial) -> None:
        self.trial, self.directory, self.url = trial, trial.root, trial.place.url
        self.token = trial.place.local.token()
        self._texts = ["", "changed"]
        self.releases: dict[str, str] = {}
        for text in self._texts:
            trial.change(text)
            trial.dcops("deploy", trial.name)
            self.releases[text] = trial.place.client().version()["release"]

    def next(self) -> tuple[list[str], str]:
        text = self._texts[0]
        self._texts.reverse()
        self.trial.change(text)
        return [str(DCOPS), "deploy", self.trial.name], self.releases[text]

    def rollback(self) -> float:
        """Seconds to the instance that the last deploy left warm; deployed again, not timed."""
        taken = self.trial.dcops("rollback", "--env", "dev")
        self.trial.dcops("deploy", "dev")
        return taken


@dataclass
class Measured:
    """Figures of one side, one of each deploy.

    Attributes:
        seconds: From the command to the first answer of the new release.
        ready: From the command to when it also says that it is ready.
        silences: Longest time without an answer, milliseconds.
        failed: Failed requests of a deploy under traffic.
        cut: Event streams that such a deploy has cut.
    """

    seconds: list[float] = field(default_factory=list)
    ready: list[float] = field(default_factory=list)
    silences: list[float] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    cut: list[int] = field(default_factory=list)

    def first_answer(self, side: Side, token: str) -> None:
        """One deploy with next to no clients: many would slow down the side that goes on answering."""
        command, release = side.next()
        with Probes(side.url, token) as probes, Probes(side.url, token, "/readyz") as ready:
            began = time.perf_counter()
            run(*command, cwd=side.directory)
            answered = probes.first(release, after=began)
            self.seconds.append(answered - began)
            self.ready.append(ready.first("", after=answered) - began)

    def silence(self, side: Side, token: str) -> None:
        """One deploy with clients that leave no gap unseen."""
        command, release = side.next()
        with Probes(side.url, token, clients=3, every=0.005) as probes:
            time.sleep(SETTLED_SECONDS)
            began = time.perf_counter()
            run(*command, cwd=side.directory)
            probes.first(release, after=began)
            time.sleep(SETTLED_SECONDS)
            silence = probes.longest_silence(began, time.perf_counter())
        self.silences.append(1000 * silence)

    def traffic(self, side: Side, token: str) -> None:
        """One deploy while clients post and read event streams."""
        client = Client(side.url, token)
        sessions = [client.create_session() for _ in range(STREAMS)]
        command, release = side.next()
        traffic = Traffic(side.url, token)
        with traffic.running():
            for session in sessions:
                traffic.stream(session)
            for session in sessions[:BUSY]:
                traffic.turns(session, WORK)
            for number in range(POSTING):
                traffic.post(keep_alive=number % 2 == 0)
            time.sleep(2 * SETTLED_SECONDS)
            run(*command, cwd=side.directory)
            await_release(side, token, release)
            time.sleep(SETTLED_SECONDS)
        self.failed.append(len(traffic.failed))
        self.cut.append(sum(bool(stream.cuts) for stream in traffic.streams))


def await_release(side: Side, token: str, release: str) -> None:
    with Probes(side.url, token) as probes:
        probes.first(release, after=0.0)


@contextmanager
def peer(ours: Ours) -> Iterator[tuple[Compose | None, str]]:
    """The same releases under docker-compose, serving, and how it is called; or None and why it cannot be."""
    command = compose_command()
    if not command:
        yield None, "no docker-compose here (Debian: apt-get install docker-compose)"
        return
    place = ours.trial.place
    compose = Compose(
        ours.directory / "compose", place, observe(place), command, list(ours.releases.values())
    )
    try:
        try:
            first, release = compose.next()
            run(*first, cwd=compose.directory)
            await_release(compose, ours.token, release)
        except (TimeoutError, CommandFailed) as error:
            yield None, f"docker-compose did not start it: {str(error).splitlines()[-1]}"
        else:
            yield compose, f"{' '.join(command)} up -d"
    finally:
        compose.down()


def beside_compose(ours: Ours, times: int) -> list[Row]:
    """Both by turns, so that a busy moment meets both."""
    mine, other = Measured(), Measured()
    with peer(ours) as (compose, name):
        for _ in range(times):
            for measured, side in ((mine, ours), (other, compose)):
                if side is not None:
                    measured.first_answer(side, ours.token)
                    measured.silence(side, ours.token)
                    measured.traffic(side, ours.token)
    return [
        compared(*FIRST_ANSWER, mine.seconds, peer=other.seconds, peer_name=name, by_ratio=True),
        compared(*READY, mine.ready, peer=other.ready, peer_name=name, by_ratio=True),
        compared(*SILENCE, mine.silences, peer=other.silences, peer_name=name),
        compared(*FAILED, mine.failed, peer=other.failed, peer_name=name),
        compared(*CUT, mine.cut, peer=other.cut, peer_name=name),
    ]


def alone(ours: Ours, times: int) -> list[Row]:
    """What has no peer there: a rollback to a warm instance, a plan that changes nothing."""
    return [
        compared(*ROLLBACK, [ours.rollback() for _ in range(times)]),
        compared(*PLAN, [ours.trial.dcops("plan", "dev") for _ in range(2 * times)]),
    ]


def growth(trial: Trial, times: int) -> list[Row]:
    """What earlier deployments and their backups cost: environments with few and with many, by turns."""
    sides = {number: grown(trial, number) for number in EARLIER}
    deploys: dict[int, list[float]] = {number: [] for number in EARLIER}
    plans: dict[int, list[float]] = {number: [] for number in EARLIER}
    for _ in range(times):
        for number, side in sides.items():
            command, _release = side.next()
            deploys[number].append(run(*command, cwd=side.directory))
            plans[number].append(trial.dcops("plan", side.trial.name))
    few, *more = EARLIER
    return [
        compared(
            f"growth: {what} after {number} deployments",
            "s",
            GROWTH,
            taken[number],
            peer=taken[few],
            peer_name=f"after {few}",
            by_ratio=True,
        )
        for what, taken in (("deploy", deploys), ("plan", plans))
        for number in more
    ]


def grown(trial: Trial, number: int) -> Ours:
    """An environment of its own with so many deployments in the history, each with its backup."""
    trial.change("")
    other = trial.beside(f"after-{number}")
    other.dcops("deploy", other.name)
    ours = Ours(other)
    place = other.place
    entry = next(each for each in reversed(place.history.entries()) if each.deployment)
    assert entry.deployment is not None
    current = observe(place)
    for each in range(entry.deployment.number + 1, number + 1):
        backup = take(place, current, reason="benchmark")
        deployment = replace(entry.deployment, number=each, instance=f"earlier-{each}", backup=backup.id)
        place.history.append(replace(entry, deployment=deployment))
    return ours


def measured(*, quick: bool) -> list[Row]:
    if missing := why_not("docker"):
        rows = (FIRST_ANSWER, READY, SILENCE, FAILED, CUT, ROLLBACK, PLAN)
        return [compared(*row, [], peer_name=missing) for row in rows]
    times = 3 if quick else 5
    with deployed("docker", verify={"suites": []}) as trial:
        ours = Ours(trial)
        rows = beside_compose(ours, times) + alone(ours, times)
        # Each instance has a network, and Docker has addresses for some thirty.
        trial.dcops("down", "dev", "--with-data")
        return rows + growth(trial, times)


if __name__ == "__main__":
    sys.exit(command(__doc__ or "", measured, "three repetitions, not five"))
