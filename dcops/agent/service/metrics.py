"""What this instance counts, in the format of Prometheus."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

if TYPE_CHECKING:
    from collections.abc import Container

    from ..events import Event
    from ..journal.records import Tokens, Turn

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_TOKENS = frozenset({"TEXT_MESSAGE_CONTENT", "REASONING_MESSAGE_CONTENT"})


@dataclass
class _Run:
    """What has to be remembered of a running turn."""

    started: float = field(default_factory=time.monotonic)
    silent: bool = True
    tools: dict[str, str] = field(default_factory=dict)


class Metrics:
    """Counters and gauges of one instance, in a registry of their own.

    Labels come from closed sets only, so that their number stays small: never ids, never a name
    that the model made up.

    Args:
        tools: Names of the tools there are.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, tools: Container[str]) -> None:
        self._tools = tools
        self._runs: dict[str, _Run] = {}
        registry = self._registry = CollectorRegistry()
        self._turns = Counter("dcops_turns", "Turns that ended here.", ["state"], registry=registry)
        self._running = Gauge("dcops_running_turns", "Turns that run here.", registry=registry)
        self._first_token = Histogram(
            "dcops_time_to_first_token_seconds",
            "From the start of a turn to its first text or thinking.",
            registry=registry,
            buckets=_SECONDS,
        )
        self._tool_seconds = Histogram(
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

        self._tokens = Gauge(
            "dcops_tokens_today", "Tokens of this day (UTC), of all instances.", ["kind"], registry=registry
        )
        self._budget = Gauge(
            "dcops_daily_token_budget", "Tokens that a day may have; 0 is any number.", registry=registry
        )

    def tokens(self, tokens: Tokens, budget: int) -> None:
        """Take note of the day's tokens; they are counted in the journal, for all instances."""
        for kind, count in asdict(tokens).items():
            self._tokens.labels(kind).set(count)
        self._budget.set(budget)

    def turn_started(self, turn: str) -> None:
        """Count a turn that runs from now on."""
        self._runs[turn] = _Run()
        self._running.inc()

    def turn_ended(self, turn: str, state: str) -> None:
        """Count a turn that ended in this state."""
        del self._runs[turn]
        self._running.dec()
        self._turns.labels(state).inc()

    def seen(self, turn: Turn, event: Event) -> None:
        """Take note of an event of a running turn."""
        run = self._runs.get(turn.id)
        if run is None:
            return
        if run.silent and event.type in _TOKENS:
            run.silent = False
            self._first_token.observe(time.monotonic() - run.started)
        elif event.type == "TOOL_CALL_START":
            name = event.data["toolCallName"]
            run.tools[event.data["toolCallId"]] = name if name in self._tools else "unknown"
        elif event.type == "CUSTOM" and event.data["name"] == "tool.finished":
            value = event.data["value"]
            tool = run.tools.pop(value["call"], "unknown")
            self._tool_seconds.labels(tool, value["status"]).observe((value["elapsed_ms"] or 0) / 1000)

    def render(self) -> bytes:
        """All values as text."""
        return generate_latest(self._registry)
