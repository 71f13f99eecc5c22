from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from dcops.agent.calls.live import BURST, PER_SECOND, TOTAL, Allowance, Live
from dcops.agent.tools.tool import ToolProgress

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from dcops.agent.events import Event


class Shown:
    """What a call shows, on a clock that the test turns."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, interval: float) -> None:
        self.now = 0.0
        self.events: list[tuple[float, str, Any]] = []
        self._timers: list[tuple[float, Callable[[], None]]] = []
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "call_later", self._later)
        self.live = Live("c", self._take, interval)

    def _later(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(self.now + seconds, callback, (), asyncio.get_running_loop())
        self._timers.append((self.now + seconds, lambda: None if timer.cancelled() else callback()))
        return timer

    def _take(self, event: Event) -> None:
        value = dict(event.data["value"])
        assert value.pop("call") == "c"
        value.pop("eta", None)
        self.events.append((round(self.now, 3), event.data["name"], *value.values()))

    def until(self, now: float) -> None:
        while self._timers and self._timers[0][0] <= now:  # all have the same interval
            self.now, callback = self._timers.pop(0)
            callback()
        self.now = now


def _show(monkeypatch: pytest.MonkeyPatch, interval: float, steps: Callable[[Shown], None]) -> Any:
    async def run() -> list[Any]:
        shown = Shown(monkeypatch, interval)
        steps(shown)
        return shown.events

    return asyncio.run(run())


def test_the_first_piece_comes_at_once_then_one_event_in_an_interval(monkeypatch: Any) -> None:
    def steps(shown: Shown) -> None:
        for n in range(10):
            shown.until(n * 0.01)
            shown.live.output(f"{n} ")
        shown.until(1.0)
        shown.live.output("after a silence")
        shown.live.close()

    assert _show(monkeypatch, 0.05, steps) == [
        (0.0, "tool.output", "0 "),
        (0.05, "tool.output", "1 2 3 4 "),
        (0.1, "tool.output", "5 6 7 8 9 "),
        (1.0, "tool.output", "after a silence"),
    ]


def test_the_last_state_is_shown_before_the_end_and_nothing_after_it(monkeypatch: Any) -> None:
    def steps(shown: Shown) -> None:
        for n in range(5):
            shown.live.progress(ToolProgress(n, 4))
        shown.live.output("more")
        shown.live.close()
        shown.live.output("too late")
        shown.live.progress(ToolProgress(1, 4))
        shown.until(5.0)

    assert _show(monkeypatch, 0.05, steps) == [
        (0.0, "tool.progress", 0.0),
        (0.0, "tool.output", "more"),
        (0.0, "tool.progress", 100.0),
    ]


def test_what_is_no_share_of_a_whole_is_not_shown(monkeypatch: Any) -> None:
    def steps(shown: Shown) -> None:
        nan, inf = float("nan"), float("inf")
        for done, total in [(nan, 1), (1, nan), (inf, 1), (1, inf), (1, 0), (1, -1), (1, 2)]:
            shown.live.progress(ToolProgress(done, total))

    assert _show(monkeypatch, 0, steps) == [(0.0, "tool.progress", 50.0)]


def test_the_same_percentage_is_shown_once_however_often_it_is_told(monkeypatch: Any) -> None:
    def steps(shown: Shown) -> None:
        for n in range(100_000):
            shown.live.progress(ToolProgress(n, 100_000))

    percents = [percent for _, _, percent in _show(monkeypatch, 0, steps)]
    assert percents == [n / 10 for n in range(1001)]


def test_an_interval_of_zero_shows_each_piece_as_it_comes(monkeypatch: Any) -> None:
    def steps(shown: Shown) -> None:
        for n in range(3):
            shown.live.output(str(n))

    assert [text for _, _, text in _show(monkeypatch, 0, steps)] == ["0", "1", "2"]


def test_ordinary_output_is_shown_as_it_is() -> None:
    live = Allowance(0.0)
    assert "".join(live.show("line\n", n / 100) for n in range(1000)) == "line\n" * 1000
    assert live.skipped() == ""


def test_a_flood_is_cut_to_the_rate_and_what_is_missing_is_said() -> None:
    live = Allowance(0.0)
    shown = "".join(live.show("#" * 65_536, n / 1000) for n in range(1000)) + live.skipped()
    assert BURST <= shown.count("#") <= BURST + PER_SECOND + 65_536
    missing = sum(int(part.split(" ")[1]) for part in shown.split("[")[1:])
    assert shown.count("#") + missing == 1000 * 65_536


def test_one_call_shows_no_more_than_its_total() -> None:
    live = Allowance(0.0)
    shown = sum(live.show("y" * 65_536, float(n)).count("y") for n in range(1000))
    assert shown <= TOTAL
    assert "only in the full output" in live.skipped()
