"""Puts the parts of an instance together; the only place that picks them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..journal.journal import Journal
from ..loop import TurnRunner
from ..toggles import LiveToggles
from ..tools.registry import default_registry
from ..transport import Transport
from .auth import Access
from .instance import Instance
from .metrics import Metrics
from .pulse import Pulse
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
    journal = Journal.open(settings.state_dir, settings.instance)
    transport = Transport(settings.base_url, settings.api_key)
    tools = default_registry()
    metrics = Metrics(tools.names)
    runner = TurnRunner(journal, transport, tools, settings.workspace, seen=metrics.seen)
    pulse = Pulse()
    return Instance(
        settings=settings,
        journal=journal,
        transport=transport,
        turns=Turns(journal, runner, metrics, pulse, settings.max_running_turns),
        metrics=metrics,
        toggles=LiveToggles(),
        access=Access(),
        roles=Roles(pulse),
        pulse=pulse,
    )
