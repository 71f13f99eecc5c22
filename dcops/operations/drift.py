"""Where record, pointer, proxy, engine, toggles and files differ: comparisons of what was read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

from dcops.core.deployment import deployments, recorded_toggles, stopped
from dcops.core.toggles import changes, digest, shown
from dcops.operations.instances import toggle_document
from dcops.records import access

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dcops.operations.current import Current
    from dcops.operations.evidence import Evidence
    from dcops.records.instances import InstanceRecord

Kind = Literal[
    "pointer",
    "model",
    "proxy",
    "instance",
    "keeper",
    "role",
    "toggles",
    "acknowledged",
    "access",
    "tokens",
    "build",
    "leftover",
    "stray",
    "toggle",
    "setting",
    "release",
]
Remedy = Literal["derived", "stops", "deploy"]


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference.

    Attributes:
        kind: What differs.
        what: For people: what is there, and what should be.
        remedy: ``derived`` is mended from what else is there, and stops nothing; ``stops`` ends or removes
            something; ``deploy`` takes another operation.
        do: The command that mends it.
        name: Which instance, toggle or setting.
        file: Of a toggle, setting or release: what the files say.
        in_force: The same: what is in force.
    """

    kind: Kind
    what: str
    remedy: Remedy
    do: str
    name: str = ""
    file: Any = None
    in_force: Any = None


def differences(current: Current, evidence: Evidence) -> list[Drift]:
    """Everything that differs; while an operation is under way or unfinished only what a deploy brings."""
    if current.unfinished is not None or evidence.busy:
        return list(_files(current, evidence))
    topics = (_pointer, _model, _proxy, _serving, _others, _toggles, _access, _tokens, _files)
    return list(chain.from_iterable(topic(current, evidence) for topic in topics))


def recorded(current: Current) -> str:
    """The instance that the newest deployment made serve."""
    made = deployments(current.entries)
    return made[-1].instance if made else ""


def _derived(evidence: Evidence, kind: Kind, what: str, name: str = "") -> Drift:
    return Drift(kind, what, "derived", f"dcops doctor {evidence.name} --repair", name)


def _stops(evidence: Evidence, what: str, name: str) -> Drift:
    return Drift("stray", what, "stops", f"dcops doctor {evidence.name} --repair", name)


def _pointer(current: Current, evidence: Evidence) -> Iterator[Drift]:
    wanted = recorded(current)
    if not wanted or current.serving == wanted:
        return
    named = f"names {current.serving or current.pointer}" if current.pointer else "is gone"
    what = f"the pointer {named}, and the newest deployment made {wanted} serve"
    if wanted in current.records and current.runs(wanted):
        yield _derived(evidence, "pointer", what, wanted)
    elif not current.runs(current.serving):
        yield Drift("pointer", f"{what}, which is gone", "deploy", f"dcops deploy {evidence.name}")


def _model(current: Current, evidence: Evidence) -> Iterator[Drift]:
    record = current.record
    if record is None or not record.scripted or current.runs(current.model) or _is_off(current):
        return
    named = f"names {current.model_pointer}, which does not run" if current.model_pointer else "is gone"
    yield _derived(evidence, "model", f"the pointer of the scripted model {named}")


def _is_off(current: Current) -> bool:
    """Whether nothing has to run: somebody stopped it, or nothing was ever deployed."""
    return stopped(current.entries) or not current.entries


def _proxy(current: Current, evidence: Evidence) -> Iterator[Drift]:
    state = current.proxy
    if not state.running:
        if not _is_off(current):
            yield _derived(evidence, "proxy", "the proxy does not run")
        return
    wanted, written = evidence.proxy, current.proxied
    if written is None or written.spec.digest != state.configuration:
        what = "the record of the proxy is not how it runs"
        if wanted.spec.digest == state.configuration:
            yield _derived(evidence, "proxy", what)
        else:
            yield Drift("proxy", what, "deploy", f"dcops deploy {evidence.name}")
    elif state.configuration != wanted.spec.digest and written.settings == wanted.settings:
        what = "this dcops runs the proxy otherwise; a new one cuts open streams"
        yield Drift("proxy", what, "deploy", f"dcops deploy {evidence.name}")
    if state.port != evidence.port:
        what = f"this machine takes port {evidence.port} for the proxy's, which is {state.port}"
        yield _derived(evidence, "proxy", what)


def _serving(current: Current, evidence: Evidence) -> Iterator[Drift]:
    """The instance that the pointer names."""
    record = current.record
    if record is None or _is_off(current):
        return
    name, state = record.id, current.instances.get(record.id)
    if state is None:
        what = f"{name}, which serves, is gone from the engine"
        yield Drift("instance", what, "deploy", f"dcops restart {evidence.name}", name)
        return
    if not current.runs(name):
        yield _derived(evidence, "instance", f"{name}, which serves, does not run", name)
    if state.always is False:
        yield _derived(evidence, "keeper", f"nobody would start {name}, which serves, again", name)
    role = current.roles.get(name)
    if role != "serving":
        what = f"{name} serves, and its control file says {role or 'nothing'}"
        yield _derived(evidence, "role", what, name)
    if record.revision.build in evidence.missing_builds:
        yield _derived(evidence, "build", f"the build of {record.revision.short}, which serves, is gone")


def _others(current: Current, evidence: Evidence) -> Iterator[Drift]:
    """Instances that neither pointer nor record says are serving, and what is left of some."""
    spared = {current.serving, current.model, recorded(current)} | evidence.pointed
    if any(drift.kind == "model" for drift in _model(current, evidence)):
        spared |= set(current.with_role("model"))  # one of them will be pointed at
    served = {each.instance for each in deployments(current.entries)}
    for name in sorted(current.instances.keys() | current.records.keys() | evidence.control_directories):
        role = current.roles.get(name)
        if name not in current.instances:
            if name != current.serving:
                yield _derived(evidence, "leftover", f"there are records of {name}, which is gone", name)
        elif name in spared or role in {"warm", "draining"}:
            continue
        elif not current.runs(name):
            if current.failed is None or name != current.failed.instance:
                yield _derived(evidence, "leftover", f"{name} has ended and is of no use", name)
        elif name not in current.records:
            yield _stops(evidence, f"{name} runs, and nobody knows it", name)
        elif role is None and name in served:
            yield _derived(evidence, "role", f"{name}, which served, has no role", name)
        elif role == "serving":
            yield _stops(evidence, f"{name} runs as if it served too", name)
        else:
            yield _stops(evidence, f"{name} was left by an operation that has ended", name)


def _toggles(current: Current, evidence: Evidence) -> Iterator[Drift]:
    in_force, told = current.toggles, recorded_toggles(current.entries)
    if told is not None and told != in_force.values:
        names = ", ".join(each.name for each in changes(told, in_force.values))
        yield _derived(evidence, "toggles", f"the record of toggles differs from the history in {names}")
        return
    for name, record in current.records.items():
        if name == current.model or not current.runs(name):
            continue
        content = evidence.files.get(f"instances/{name}/toggles.json")
        wanted = toggle_document(record.revision, in_force)
        # Those that do not serve may follow an earlier generation, until they are told again.
        fits = content == wanted if name == current.serving else _whole(content, in_force.generation)
        if not fits:
            yield _derived(evidence, "toggles", f"the toggle file of {name} is not what is in force", name)
    yield from _acknowledged(current, evidence)


def _acknowledged(current: Current, evidence: Evidence) -> Iterator[Drift]:
    follows, generation = evidence.follows, current.toggles.generation
    if follows is None or follows >= generation or current.record is None:
        return
    until = "" if current.record.revision.roles else ", until it starts anew"
    what = f"{current.serving} follows toggle generation {follows}, not {generation}{until}"
    yield Drift("acknowledged", what, "deploy", f"dcops restart {evidence.name}", current.serving)


def _whole(content: bytes | None, newest: int) -> bool:
    """Whether a toggle file was written by dcops, up to now."""
    try:
        document = json.loads(content or b"")
        return bool(document["digest"] == digest(document["values"]) and document["generation"] <= newest)
    except (ValueError, KeyError, TypeError):
        return False


def _access(current: Current, evidence: Evidence) -> Iterator[Drift]:
    if not evidence.tokens:
        return
    for name, record in current.records.items():
        wanted = access.document(evidence.tokens, record.revision)
        if current.runs(name) and evidence.files.get(f"instances/{name}/access.json") != wanted:
            yield _derived(evidence, "access", f"the access file of {name} does not let in who may", name)


def _tokens(current: Current, evidence: Evidence) -> Iterator[Drift]:
    running = [record for name, record in current.records.items() if current.runs(name)]
    for record in running:
        if token_files(record) - evidence.token_files:
            yield _derived(evidence, "tokens", f"a token of {record.id} is gone", record.id)
    known = set().union(*(token_files(record) for record in current.records.values()))
    # Where the record of what runs is lost, nobody can tell its tokens from those of what is gone.
    if evidence.pointed - set(current.records):
        return
    if unknown := evidence.token_files - known:
        yield _derived(evidence, "tokens", f"{len(unknown)} token files belong to no instance")


def token_files(record: InstanceRecord) -> set[str]:
    """Paths of what the proxy lets an instance through by."""
    return {path for path in record.files() if not path.startswith("records/")}


def _files(current: Current, evidence: Evidence) -> Iterator[Drift]:
    """What a deploy would change, without making a plan."""
    deployment, name = current.deployment, evidence.name
    if deployment is None:
        return
    for change in changes(current.toggles.values, evidence.toggles):
        what = f"toggle {change.name}: {shown(change.new)} in the files, {shown(change.old)} in force"
        apply = f"dcops toggle apply {name}"
        yield Drift("toggle", what, "deploy", apply, change.name, change.new, change.old)
    asked = evidence.configuration, evidence.proxy.settings
    before = deployment.revision.configuration, current.proxied.settings if current.proxied else {}
    for change in chain(changes(before[0], asked[0]), changes(before[1], asked[1]) if before[1] else ()):
        what = f"setting {change.name}: {shown(change.new)} in the files, {shown(change.old)} in force"
        yield Drift("setting", what, "deploy", f"dcops deploy {name}", change.name, change.new, change.old)
    serves = deployment.revision.release
    if evidence.release and evidence.release != serves:
        what = f"the implementation is {evidence.release[:12]} now, {serves[:12]} serves"
        yield Drift("release", what, "deploy", f"dcops deploy {name}", "", evidence.release, serves)
