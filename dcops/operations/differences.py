"""What a plan changes, one line for each thing, for people."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dcops.core.environment import setting_changes
from dcops.core.toggles import changes, shown
from dcops.operations.instances import open_streams
from dcops.operations.steps.start import proxy_record

if TYPE_CHECKING:
    from dcops.core.deployment import Revision
    from dcops.operations.current import Current
    from dcops.operations.session_journal import Migration
    from dcops.operations.world import Place


def revision_changes(current: Current, revision: Revision) -> list[str]:
    """What another revision differs in: its release, its settings, its toggles."""
    serving = current.deployment
    lines = []
    if serving is None:
        lines.append(f"release    (none) -> {revision.short}")
    elif serving.revision.release != revision.release:
        lines.append(f"release    {serving.revision.short} -> {revision.short}")
    before = serving.revision.configuration if serving else {}
    lines += [
        f"setting    {change.name}: {shown(change.old)} -> {shown(change.new)}"
        for change in (setting_changes(before, revision.configuration) if serving else [])
    ]
    lines += [
        f"toggle     {change.name}: {shown(change.old)} -> {shown(change.new)}"
        for change in changes(current.toggles.values, revision.toggles)
    ]
    return lines


def state_changes(migrates: Migration | None, *, outage: bool) -> list[str]:
    """What happens to the session journal, and to requests meanwhile."""
    lines = [f"journal    {migrates.change}"] if migrates else []
    if outage:
        lines.append("requests   fail from step 'stop' to step 'switch', and nothing stays warm after it")
    return lines


def proxy_changes(place: Place, current: Current) -> list[str]:
    """Why the proxy is replaced, and what that cuts; nothing when it stays."""
    wanted = proxy_record(place)
    if not current.proxy.running or current.proxy.configuration == wanted.spec.digest:
        return []
    # A proxy of an earlier version tells of no settings.
    before = current.proxied.settings if current.proxied else {}
    lines = [
        f"proxy      {change.name}: {shown(change.old)} -> {shown(change.new)}"
        for change in (changes(before, wanted.settings) if before else [])
    ]
    moved = current.proxied is not None and current.proxied.spec.addresses[0] != wanted.spec.addresses[0]
    back = "clients must use the new address" if moved else "clients come back by themselves"
    return [*lines, f"proxy      it starts anew, for seconds: {_cut(place, current)}; {back}"]


def _cut(place: Place, current: Current) -> str:
    """What a new proxy cuts, counted by way of the present one."""
    if current.proxied is not None:
        spec = current.proxied.spec
        place = replace(place, choice=replace(place.choice, port=spec.port, bind=spec.bind))
    users = [current.records[name] for name in (*current.with_role("serving"), *current.with_role("warm"))]
    count = open_streams(place, users)
    said = {None: "open streams are cut", 0: "no stream is open now", 1: "1 open stream is cut"}
    return said.get(count, f"{count} open streams are cut")
