"""Puts the parts of an instance together; the only place that picks them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..journal.journal import Journal
from ..loop import TurnRunner
from ..model.transport import Transport
from ..toggles import LiveToggles
from ..tools.registry import default_registry
from .auth import Access
from .disk import Disk
from .instance import Instance
from .metrics import Metrics
from .pulse import Pulse
from .removal import Removal
from .roles import Roles
from .turns import Turns

if TYPE_CHECKING:
    from ..settings import Settings


def build_instance(settings: Settings) -> Instance:
    """An instance that is not yet loaded.

    Raises:
        JournalError: The journal cannot be used.
        OSError: The state directory cannot be written.
    """
    own = not settings.one_workspace
    journal = Journal.open(settings.state_dir, settings.instance, own_workspaces=own)
    transport = Transport(settings.base_url, settings.api_key)
    tools = default_registry()
    metrics = Metrics(tools.names)
    runner = TurnRunner(journal, transport, tools, settings.workspace, seen=metrics.seen)
    pulse = Pulse()
    roles = Roles(pulse)
    return Instance(
        settings=settings,
        journal=journal,
        transport=transport,
        turns=Turns(journal, runner, metrics, pulse, settings.max_running_turns),
        metrics=metrics,
        toggles=LiveToggles(),
        access=Access(),
        roles=roles,
        pulse=pulse,
        disk=Disk({"sessions": settings.state_dir, "workspace": settings.workspace}, settings.disk_free),
        removal=Removal(journal, runner, settings.workspace, settings.sessions_keep, lambda: roles.serves),
    )
