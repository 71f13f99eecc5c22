"""dcops is killed before and after every step of an operation; another one finishes it or takes it back."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from .site import until
from .traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .conftest import Sites
    from .site import Site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

TORN_SECONDS = 70
MOMENTS = ["before", "after"]
OUTSIDE = {"pre-build", "build"}  # no lock is held and no journal open: nothing is left to finish


def stands(steps: list[str], step: str, moment: str) -> bool:
    """Whether the new state was recorded before the death: then it stands whatever comes."""
    commit = steps.index("record")
    return steps.index(step) > commit or (step == "record" and moment == "after")


@pytest.fixture(scope="module")
def site(engine: str, sites: Sites) -> Iterator[Site]:
    """Two releases with their builds: the first serves, the second has served and is warm."""
    with sites(engine, little=True, verify={"suites": ["smoke"]}, timeouts={"drain": "2s"}) as site:
        site.deploy("first")
        site.deploy("second")
        site.deploy("first")
        yield site


@dataclass
class Scene:
    """What users ask while operations die.

    Attributes:
        bad: What was wrong, and after which death.
    """

    site: Site
    bad: list[str]

    def serves(self) -> str:
        return str(self.site.client.version()["release"])

    def check(self, where: str, *, holds: bool, what: str) -> None:
        if not holds:
            self.bad.append(f"{where}: {what}")

    def clean(self, where: str) -> None:
        """Nothing is left but what serves, its model, and what is warm or still drains."""
        current = self.site.current()
        needed = {current.serving, current.model, *current.with_role("warm"), *current.with_role("draining")}
        # What was draining may just have ended; the next command forgets it.
        stray = [
            name
            for name in current.instances.keys() | current.records.keys()
            if name not in needed and current.runs(name)
        ]
        self.check(where, holds=not stray, what=f"left over: {stray}")
        self.check(where, holds=self.site.place.lock.holder() is None, what="the lock is held")
        self.check(where, holds=current.unfinished is None, what="something is unfinished")
        # A half-made file of the dead is removed by whoever holds the lock a minute later.
        torn = [path for path in self.site.root.rglob(".*-*") if path.name.startswith((".new-", ".old-"))]
        torn = [path for path in torn if time.time() - path.stat().st_mtime > TORN_SECONDS]
        self.check(where, holds=not torn, what=f"torn files: {torn}")


@pytest.fixture
def scene(site: Site) -> Iterator[Scene]:
    scene = Scene(site, [])
    traffic = Traffic(site.place.url, site.place.local.token())
    with traffic.running():
        for number in range(4):
            traffic.post(keep_alive=number < 2)
        traffic.upload()
        yield scene
        until(lambda: traffic.answered > 100, 30, "traffic")
    assert traffic.failed == []


def kill_everywhere(
    scene: Scene, steps: list[str], words: tuple[str, ...], between: Callable[[], None]
) -> None:
    """Kill the operation at each step; finish it, and in a second run take it back."""
    for end in ("resume", "abort"):
        for step in steps:
            for moment in MOMENTS:
                where = f"{words[0]}, killed {moment} {step}, {end}"
                between()
                before = scene.serves()
                scene.site.dying(signal.SIGKILL, moment, step, *words, code=-signal.SIGKILL)
                said = scene.site.dcops("restart", "dev", code=6).stderr
                scene.check(where, holds=f"interrupted at step '{step}'" in said, what=said)
                scene.site.dcops(end, "dev")
                scene.site.dcops(end, "dev", code=6)
                moved = end == "resume" or stands(steps, step, moment)
                scene.check(where, holds=(scene.serves() != before) == moved, what="the wrong one serves")
                scene.clean(where)


def other_release(site: Site) -> None:
    """Make the files those of the release that does not serve, and its deploy the next one."""
    serving = site.client.version()["release"]
    for text in ("first", "second"):
        site.change(text)
        if site.json("plan", "dev")["plan"]["revision"]["release"] != serving:
            return


def steps_of(plan: dict[str, Any]) -> list[str]:
    return [step["id"] for step in plan["plan"]["steps"] if step["id"] not in OUTSIDE]


def test_a_deploy(scene: Scene) -> None:
    site = scene.site
    other_release(site)
    steps = steps_of(site.json("plan", "dev"))
    assert {"start", "probe", "verify", "backup", "switch", "smoke", "record", "settle"} <= set(steps)
    kill_everywhere(scene, steps, ("deploy", "dev"), lambda: other_release(site))
    assert scene.bad == []


def test_a_rollback(scene: Scene) -> None:
    def again() -> None:
        other_release(scene.site)
        scene.site.deploy()

    steps = ["switch", "smoke", "record", "settle"]
    kill_everywhere(scene, steps, ("rollback", "--env", "dev"), again)
    assert scene.bad == []


def test_a_toggle(scene: Scene) -> None:
    site = scene.site

    def values() -> object:
        return site.current().toggles.values.get("speed")

    for end in ("resume", "abort"):
        for step in ("toggles", "record"):
            for moment in MOMENTS:
                where = f"toggle, killed {moment} {step}, {end}"
                before = values()
                wanted = 6 if before == 5 else 5
                words = ("toggle", "set", "speed", str(wanted), "--env", "dev")
                site.dying(signal.SIGKILL, moment, step, *words, code=-signal.SIGKILL)
                site.dcops(end, "dev")
                moved = end == "resume" or (step, moment) == ("record", "after")
                scene.check(where, holds=values() == (wanted if moved else before), what=f"{values()}")
                drift = [each for each in site.status()["drift"] if each["kind"] == "toggle"]
                scene.check(where, holds=not drift, what=f"the file says otherwise: {drift}")
                scene.clean(where)
    assert scene.bad == []


def test_maintenance(site: Site) -> None:
    scene = Scene(site, [])
    for end in ("resume", "abort"):
        for step in ("maintenance", "record"):
            for moment in MOMENTS:
                where = f"maintenance, killed {moment} {step}, {end}"
                words = ("maintenance", "on", "dev")
                site.dying(signal.SIGKILL, moment, step, *words, code=-signal.SIGKILL)
                site.dcops(end, "dev")
                moved = end == "resume" or (step, moment) == ("record", "after")
                scene.check(where, holds=bool(site.status()["maintenance"]) == moved, what="on or off")
                scene.clean(where)
                site.dcops("maintenance", "off", "dev")
    assert scene.bad == []


def test_a_stop(site: Site) -> None:
    scene = Scene(site, [])
    for end in ("resume", "abort"):
        for step in ("halt", "record"):
            for moment in MOMENTS:
                where = f"stop, killed {moment} {step}, {end}"
                before = site.current().serving
                site.dying(signal.SIGKILL, moment, step, "stop", "dev", code=-signal.SIGKILL)
                site.dcops(end, "dev")
                stopped = end == "resume" or (step, moment) == ("record", "after")
                state = site.status()["state"]
                scene.check(where, holds=state == ("down" if stopped else "running"), what=state)
                site.dcops("start", "dev")
                scene.check(where, holds=site.current().serving == before, what="another one serves")
                scene.clean(where)
    assert scene.bad == []


@pytest.mark.parametrize(("number", "code", "word"), [(2, 130, "interrupted"), (15, 143, "interrupted")])
def test_a_signal_takes_back_what_was_done(scene: Scene, number: int, code: int, word: str) -> None:
    site = scene.site
    other_release(site)
    before = scene.serves()
    steps = steps_of(site.json("plan", "dev"))
    for step in steps[: steps.index("record")]:
        said = site.dying(number, "after", step, "deploy", "dev", code=code).stderr.splitlines()
        where = f"signal {number} after {step}"
        told = any(f"{word} at step '{step}'; taken back" in line for line in said[-4:])
        scene.check(where, holds=told, what=f"{said[-4:]}")
        scene.check(where, holds=scene.serves() == before, what="another one serves")
        scene.clean(where)
    site.dying(number, "before", "settle", "deploy", "dev", code=0)
    scene.check("late", holds=scene.serves() != before, what="the deployment does not stand")
    assert scene.bad == []
