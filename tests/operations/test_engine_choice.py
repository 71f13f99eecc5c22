"""An environment that another machine has deployed is found on the engine that both reach."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from dcops.core.environment import Environment, Project
from dcops.engines.fake import FakeEngine
from dcops.environments import Environments
from dcops.errors import PreconditionMissing
from dcops.operations.engine_choice import choose, keep
from dcops.operations.world import World
from dcops.records import proxy
from dcops.records.local import EngineChoice

if TYPE_CHECKING:
    from pathlib import Path

FOUND = EngineChoice("docker", 8123, "found on docker", bind="127.0.0.1")


@dataclass
class Machine:
    """A state directory beside an engine that others use too."""

    root: Path
    engine: FakeEngine = field(default_factory=FakeEngine)
    no_docker: str = ""
    asked: list[str] = field(default_factory=list)

    @property
    def world(self) -> World:
        def engine(name: str, _project: Project, _environment: Environment) -> FakeEngine:
            self.asked.append(name)
            return self.engine

        project = Project(self.root, "shared", "0" * 8)
        return World(project, Environments(project), engine, lambda *_: self.no_docker, self.root)

    def environment(self, engine: str = "auto", port: int = 0) -> Environment:
        return Environment("dev", engine, self.root, port=port)

    def deployed_elsewhere(self, port: int = 8123) -> None:
        document = {"configuration": "{}", "bind": "127.0.0.1", "port": port}
        self.engine.store().write({proxy.PATH: json.dumps(document).encode()})


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    (tmp_path / "environments").mkdir()
    return Machine(tmp_path)


@pytest.mark.parametrize("engine", ["auto", "docker"])
def test_it_is_adopted_with_the_port_of_its_proxy(machine: Machine, engine: str) -> None:
    machine.deployed_elsewhere()
    assert machine.world.choice(machine.environment(engine)) == FOUND
    assert machine.asked == ["docker"]
    assert machine.world.local("dev").choice() == FOUND
    assert choose(machine.world, machine.environment(engine), None) == FOUND


def test_what_this_machine_has_decided_itself_is_not_looked_for(machine: Machine) -> None:
    own = EngineChoice("process", 8100, "asked for with --engine")
    machine.world.local("dev").decide(own)
    machine.deployed_elsewhere()
    assert machine.world.choice(machine.environment()) == own
    assert machine.asked == []


def test_an_environment_on_processes_is_no_other_machines(machine: Machine) -> None:
    machine.deployed_elsewhere()
    assert machine.world.choice(machine.environment("process")) is None


def test_without_a_docker_that_answers_nothing_is_found(machine: Machine) -> None:
    machine.deployed_elsewhere()
    machine.no_docker = "no Docker daemon"
    assert machine.world.choice(machine.environment("docker")) is None
    assert machine.asked == []


def test_a_store_without_a_proxy_is_no_deployment(machine: Machine) -> None:
    machine.engine.store().write({"records/lease.json": b"{}"})
    assert machine.world.choice(machine.environment()) is None
    assert machine.world.local("dev").choice() is None


def test_a_first_deploy_that_another_machine_came_before_is_refused(machine: Machine) -> None:
    world, environment = machine.world, machine.environment()
    place = world.place(environment, EngineChoice("docker", 8100, "a Docker daemon answers"))
    machine.deployed_elsewhere()
    with pytest.raises(PreconditionMissing) as caught:
        keep(place)
    assert caught.value.code == "DC-PLAN-STALE"
    # And the next one begins with what there is.
    assert choose(world, environment, None) == FOUND


def test_a_first_deploy_keeps_its_choice(machine: Machine) -> None:
    made = EngineChoice("docker", 8100, "a Docker daemon answers")
    place = machine.world.place(machine.environment(), made)
    keep(place)
    assert place.local.choice() == made
    machine.deployed_elsewhere(8100)
    keep(place)
    assert place.local.choice() == made
