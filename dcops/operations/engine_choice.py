"""Which engine an environment runs on: decided at its first deploy, said, and kept."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dcops.engines.ports import free_port
from dcops.errors import PreconditionMissing
from dcops.records.local import EngineChoice

if TYPE_CHECKING:
    from dcops.core.environment import Environment
    from dcops.operations.world import Place, World


def choose(world: World, environment: Environment, asked: str | None) -> EngineChoice:
    """The recorded engine, or a new decision; nothing is written.

    Args:
        asked: ``--engine``.

    Raises:
        PreconditionMissing: environment.yaml says another engine than the recorded one, or the move to
            another one would need a port twice.
    """
    recorded = world.choice(environment)
    if recorded is None:
        engine, why = _decide(world, environment, asked)
        return EngineChoice(engine, _port(world, environment, engine), why)
    if asked not in {None, recorded.engine}:
        return _moved(world, environment, recorded, str(asked))
    if environment.engine not in {"auto", recorded.engine} and asked is None:
        raise PreconditionMissing(
            "DC-ENGINE-DECIDED",
            f"{environment.name} runs on {recorded.engine}, and environment.yaml says {environment.engine}",
            why=f"{recorded.engine} was decided at the first deploy: {recorded.why}",
            do=f"dcops deploy {environment.name} --engine {environment.engine}",
        )
    return replace(recorded, port=environment.port or recorded.port, bind=environment.bind)


def keep(place: Place) -> None:
    """Write the choice down, once the lock is held.

    Raises:
        PreconditionMissing: Another machine has made the first deploy meanwhile, with a choice of its own.
    """
    recorded, made = place.local.choice(), place.choice
    found = None if recorded else place.world.choice(place.environment)
    if found and (found.engine, found.port) != (made.engine, made.port):
        raise PreconditionMissing(
            "DC-PLAN-STALE",
            f"{place.name} was deployed from another machine meanwhile",
            why=f"it runs on {found.engine} and listens on port {found.port}",
            do="run the command again",
        )
    if recorded is None or recorded.engine != made.engine:
        place.local.decide(made)


def finish_move(place: Place) -> None:
    """Remove what the environment still has on the engine that it left; its sessions stay there."""
    left = place.choice.leaves
    if left is None:
        return
    place.world.place(place.environment, left).engine.remove(with_data=False)
    place.local.decide(replace(place.choice, leaves=None))
    place.say("", f"{place.name} left {left.engine}; its sessions there are kept")


def undo_move(place: Place) -> None:
    """Go back to the engine that the environment was leaving: it still serves there."""
    left = place.choice.leaves
    if left is not None:
        place.engine.remove(with_data=False)
        place.local.decide(left)


def _moved(world: World, environment: Environment, recorded: EngineChoice, asked: str) -> EngineChoice:
    if environment.port:
        raise PreconditionMissing(
            "DC-ENGINE-DECIDED",
            f"{environment.name} runs on {recorded.engine}, which holds port {environment.port}",
            why="both engines serve for a moment, and environment.yaml fixes the port",
            do=f"dcops down {environment.name}, then dcops deploy {environment.name} --engine {asked}; "
            "or port: auto",
        )
    return EngineChoice(asked, _port(world, environment, asked), "asked for with --engine", leaves=recorded)


def _port(world: World, environment: Environment, engine: str) -> int:
    seed = f"{world.project.id} {environment.name} {engine}"
    return environment.port or free_port(seed, environment.bind)


def _decide(world: World, environment: Environment, asked: str | None) -> tuple[str, str]:
    if asked is not None:
        return asked, "asked for with --engine"
    if environment.engine != "auto":
        return environment.engine, "environment.yaml says so"
    missing = world.probe(world.project, environment)
    return ("process", missing) if missing else ("docker", "a Docker daemon answers")
