"""Reaching the target, and waiting for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcops.client import Client
from dcops.verification.expectations import eventually

if TYPE_CHECKING:
    from dcops.core.verification import Target


def client_of(target: Target, *, token: str | None = None, host: str | None = None) -> Client:
    """A client that reaches exactly the target, whatever its role.

    Args:
        target: The instance; without an operator secret, whatever answers at its url.
        token: In place of the target's; an empty one sends none.
        host: Host header in place of the url's.
    """
    presented = target.token if token is None else token
    instance = target.instance if target.operator else None
    return Client(target.url, presented, instance=instance, operator=target.operator, host=host)


def wait_until_ready(agent: Client, seconds: float) -> None:
    """Fail unless the instance becomes ready within this time."""
    eventually("GET /readyz (ready, reasons why not)", agent.ready, expected=(True, []), seconds=seconds)
