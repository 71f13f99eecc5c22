"""Which engine an environment runs on: decided at its first deploy, said, and kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcops.engines.ports import free_port
from dcops.errors import PreconditionMissing
from dcops.records.local import EngineChoice

if TYPE_CHECKING:
    from dcops.core.environment import Environment
    from dcops.operations.world import World


def choose(world: World, environment: Environment, asked: str | None) -> EngineChoice:
    """The recorded engine, or a new decision; nothing is written.

    Args:
        asked: ``--engine``.

    Raises:
        PreconditionMissing: Another engine is asked for than the one that serves.
    """
    recorded = world.local(environment.name).choice()
    if recorded is not None and asked in {None, recorded.engine}:
        return _with_port(environment, recorded)
    if recorded is not None:
        raise PreconditionMissing(
            "DC-ENGINE-DECIDED",
            f"{environment.name} runs on {recorded.engine}, not on {asked}",
            why="an environment lives on one engine at a time",
            do=f"dcops down {environment.name}, then dcops deploy {environment.name} --engine {asked}",
        )
    engine, why = _decide(world, environment, asked)
    port = environment.port or free_port(f"{world.project.id} {environment.name}", environment.bind)
    return EngineChoice(engine=engine, port=port, why=why)


def _with_port(environment: Environment, recorded: EngineChoice) -> EngineChoice:
    return EngineChoice(recorded.engine, environment.port or recorded.port, recorded.why)


def _decide(world: World, environment: Environment, asked: str | None) -> tuple[str, str]:
    if asked is not None:
        return asked, "asked for with --engine"
    if environment.engine != "auto":
        return environment.engine, "environment.yaml says so"
    missing = world.probe(world.project, environment)
    return ("process", missing) if missing else ("docker", "a Docker daemon answers")
