"""Puts the parts of an instance together; the only place that picks them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..journal import Journal
from ..loop import TurnRunner
from ..toggles import LiveToggles
from ..tools.registry import Registry
from ..transport import Transport
from .auth import Access
from .instance import Instance
from .metrics import Metrics
from .pulse import Pulse
from .roles import Roles

if TYPE_CHECKING:
    from ..settings import Settings


def build_instance(settings: Settings) -> Instance:
    """An instance that is not yet loaded.

    Raises:
        JournalError: The journal cannot be used.
        OSError: The state directory cannot be written.
    """
