from __future__ import annotations

from dcops.agent.calls.live import BURST, PER_SECOND, TOTAL, Allowance


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
