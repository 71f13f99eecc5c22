"""What this instance counts, in the format of Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """Counters and gauges of one instance, in a registry of their own.

    Labels come from closed sets only, so that their number stays small: never ids, never a name
    that the model made up.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.turns = Counter("dcops_turns", "Turns that ended here.", ["state"], registry=registry)
        self.running_turns = Gauge("dcops_running_turns", "Turns that run here.", registry=registry)
        self.first_token = Histogram(
            "dcops_time_to_first_token_seconds",
            "From the start of a turn to its first text or thinking.",
            registry=registry,
            buckets=_SECONDS,
        )
        self.tool_seconds = Histogram(
            "dcops_tool_seconds",
            "Time that tools ran.",
            ["tool", "status"],
            registry=registry,
            buckets=_SECONDS,
        )
        self.sse_clients = Gauge("dcops_sse_clients", "Open event streams.", registry=registry)
        self.toggles_generation = Gauge(
            "dcops_toggles_generation", "Generation of the toggles in force.", registry=registry
        )

    def render(self) -> bytes:
        """All values as text."""
        return generate_latest(self._registry)
