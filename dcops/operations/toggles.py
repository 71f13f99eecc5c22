"""Flip features while the agent runs: validated, written, acknowledged by the instances."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dcops.core import toggles as core_toggles
from dcops.core.retirement import retirements
from dcops.errors import NotAcknowledged
from dcops.operations.current import look_for_interrupted, observe
from dcops.operations.delivery import Acknowledgement, acknowledgements, follows_live
from dcops.operations.planning import small_plan
from dcops.operations.steps.record import write_toggle_file
from dcops.operations.transaction import transaction
from dcops.releases.context import load_release

if TYPE_CHECKING:
    from dcops.core.environment import Environment
    from dcops.operations.steps.run import Run
    from dcops.operations.world import Place, World
    from dcops.records.instances import InstanceRecord

LOCK_SECONDS = 10.0

Values = dict[str, Any]
Edit = Callable[[Values, Values], Values]  # values in force and the schema -> values wanted


@dataclass(frozen=True, slots=True)
class ToggleRow:
    """One toggle of an environment.

    Attributes:
        value: In force where the environment is deployed, else what its file says.
        source: Where the value comes from: ``default`` or ``toggles.yaml``.
        applies: When a new value takes effect.
        drift: What the file says, where that is not in force yet.
        needs: The toggle without which this one has no effect; empty where there is none.
        less_than: The toggle that this one must stay below; empty where there is none.
    """

    name: str
    type: str
    value: Any
    default: Any
    source: str
    applies: str
    description: str
    drift: Any = None
    needs: str = ""
    less_than: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ToggleReport:
    """What a change of toggles did.

    Attributes:
        changed: By name: value before, value after; None stands for the default.
        acknowledged: Instances that follow, and how long after the write they said so.
        lagging: Warm instances that do not follow yet.
        at_next_start: Instances without roles, which read their toggles only when they start.
        warnings: What was set and ends on a known day, or has ended.
    """

    environment: str
    generation: int
    changed: dict[str, list[Any]]
    acknowledged: tuple[Acknowledgement, ...] = ()
    lagging: tuple[str, ...] = ()
    at_next_start: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def list_toggles(world: World, environment: str) -> list[ToggleRow]:
    """Every toggle of the serving release, or of the implementation where nothing serves."""
    return _rows(world, environment)[1]


def _rows(world: World, environment: str) -> tuple[dict[str, Any], list[ToggleRow]]:
    """The schema, and a row of each toggle."""
    schema, in_force = _schema_and_values(world, environment)
    wanted = world.environments.load(environment).toggles
    deployed = in_force is not None
    values = wanted if in_force is None else in_force
    now, file = (core_toggles.effective(each, schema) for each in (values, wanted))
    rows = [
        ToggleRow(
            name=name,
            type=str(declared.get("type", "string")),
            value=now[name],
            default=declared.get("default"),
            source="toggles.yaml" if name in values else "default",
            applies=str(declared.get("x-applies", "restart")),
            description=str(declared.get("description", "")),
            drift=file[name] if deployed and file[name] != now[name] else None,
            needs=str(declared.get("x-needs", "")),
            less_than=str(declared.get("x-less-than", "")),
        )
        for name, declared in core_toggles.declarations(schema).items()
    ]
    return schema, rows


def get_toggle(world: World, environment: str, name: str) -> ToggleRow:
    """One toggle.

    Raises:
        UsageError: It does not exist.
    """
    schema, rows = _rows(world, environment)
    core_toggles.declaration(name, schema)
    return next(row for row in rows if row.name == name)


def set_toggle(world: World, environment: str, name: str, text: str, *, reason: str = "") -> ToggleReport:
    """Set one value, as written on the command line.

    Raises:
        UsageError: The toggle or the value is wrong; nothing was changed.
        NotAcknowledged: It was written, but an instance did not say in time that it follows.
    """

    def edit(values: Values, schema: Values) -> Values:
        return {**values, name: core_toggles.parse(name, text, schema)}

    return change_toggles(world, environment, edit, reason)


def unset_toggle(world: World, environment: str, name: str, *, reason: str = "") -> ToggleReport:
    """Go back to the schema's default."""

    def edit(values: Values, schema: Values) -> Values:
        core_toggles.declaration(name, schema)
        return {each: value for each, value in values.items() if each != name}

    return change_toggles(world, environment, edit, reason)


def apply_toggles(world: World, environment: str, *, reason: str = "") -> ToggleReport:
    """Bring what ``toggles.yaml`` says into force."""

    def edit(_values: Values, schema: Values) -> Values:
        world.environments.check_toggles(environment, schema)
        return dict(world.environments.load(environment).toggles)

    return change_toggles(world, environment, edit, reason)


def validate_toggles(world: World, environment: str | None = None) -> list[str]:
    """Hold the toggle files against the implementation's schema.

    Returns:
        The environments that were checked.

    Raises:
        PreconditionMissing: A value does not fit, with file and line.
    """
    names = [environment] if environment else world.environments.names()
    for name in names:
        schema = load_release(world.environments.load(name).implementation).schema
        world.environments.check_toggles(name, schema)
    return names


def _schema_and_values(world: World, environment: str) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The serving release's schema and the values in force; None in place of them when nothing serves."""
    loaded = world.environments.load(environment)
    choice = world.choice(loaded)
    if choice is not None:
        place = world.place(loaded, choice)
        look_for_interrupted(place)
        current = observe(place)
        if current.record is not None:
            return current.record.revision.schema, current.toggles.values
    return load_release(loaded.implementation).schema, None


def change_toggles(
    world: World, environment: str, edit: Edit, reason: str, *, wait: float = LOCK_SECONDS
) -> ToggleReport:
    """Edit the values in force, which are read under the lock: two flips at once are both kept.

    Args:
        edit: Makes the values wanted from those in force and the schema.
        wait: Seconds to wait for another operation.

    Raises:
        UsageError: The values wanted are wrong; nothing was changed.
        PreconditionMissing: Another operation holds the lock, or one is unfinished.
        NotAcknowledged: It was written, but an instance did not say in time that it follows.
    """
    loaded = world.environments.load(environment)
    choice = world.choice(loaded)
    if choice is None:
        return _write_file_only(world, loaded, edit)
    place = world.place(loaded, choice)
    with transaction(place, "toggle", wait=wait) as held:
        current = held.look()
        if current.deployment is None or current.record is None:
            return _write_file_only(world, loaded, edit)
        schema = current.record.revision.schema
        values = _edited(current.toggles.values, schema, edit)
        # A flip that was cut short has written its generation, but perhaps not to the instances.
        behind = current.generations.get(current.serving) != current.toggles.generation
        if values == current.toggles.values and not behind:
            edited = core_toggles.changes(loaded.toggles, edit(dict(loaded.toggles), schema))
            write_toggle_file(place, values, {each.name for each in edited})
            return ToggleReport(environment, current.toggles.generation, {})
        planned = small_plan(
            place,
            current,
            current.deployment,
            kind="toggle",
            steps=("toggles", "record"),
            toggles=values,
            reason=reason,
        )
        run = held.run(planned, current, began=time.time())
    return _report(run, schema)


def _edited(values: Values, schema: Values, edit: Edit) -> Values:
    """The values wanted; those that an earlier release which serves again does not know are left alone.

    Raises:
        UsageError: They are wrong, alone or together.
    """
    unknown = values.keys() - core_toggles.project(values, schema).keys()
    wanted = edit(values, schema)
    checked = {name: value for name, value in wanted.items() if name not in unknown or value != values[name]}
    if found := core_toggles.validate(checked, schema):
        raise core_toggles.invalid(found)
    return wanted


def _write_file_only(world: World, environment: Environment, edit: Edit) -> ToggleReport:
    schema = load_release(environment.implementation).schema
    values = _edited(environment.toggles, schema, edit)
    changed = core_toggles.changes(environment.toggles, values)
    world.environments.set_toggles(
        environment.name,
        {each.name: each.new for each in changed if each.name in values},
        unset=[each.name for each in changed if each.name not in values],
    )
    told = {each.name: [each.old, each.new] for each in changed}
    return ToggleReport(environment.name, 0, told, warnings=_warnings(told, schema))


def _report(run: Run, schema: Values) -> ToggleReport:
    """What a flip did.

    Raises:
        NotAcknowledged: An instance that must follow did not say so in time.
    """
    place, current, generation = run.place, run.current, run.toggles.generation
    if late := run.values["late"]:
        raise NotAcknowledged(
            "DC-NOT-ACKNOWLEDGED",
            f"toggle generation {generation} is written, but {', '.join(late)} did not acknowledge it",
            do=f"dcops logs {place.name}",
            changed=run.plan.toggles_set,
        )
    answers = run.values["acknowledged"]
    lagging = [record for record in follows_live(current) if record.id not in answers]
    return ToggleReport(
        place.name,
        generation,
        run.plan.toggles_set,
        tuple(Acknowledgement(*each) for each in answers.items()),
        lagging=_still_behind(place, lagging, generation),
        at_next_start=tuple(
            name
            for name, record in current.records.items()
            if name != current.model and current.runs(name) and not record.revision.roles
        ),
        warnings=_warnings(run.plan.toggles_set, schema),
    )


def _warnings(changed: dict[str, list[Any]], schema: Values) -> tuple[str, ...]:
    values = {name: new for name, (_, new) in changed.items() if new is not None}
    ending = retirements(values, schema, datetime.now(UTC).date())
    return tuple(f"{each}; {each.do}" for each in ending if each.toggle in changed)


def _still_behind(place: Place, records: list[InstanceRecord], generation: int) -> tuple[str, ...]:
    answers = acknowledgements(place, records, generation)
    return tuple(each.instance for each in answers if each.milliseconds is None)
