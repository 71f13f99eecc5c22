from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.common.rows import Row, compared, report

if TYPE_CHECKING:
    import pytest

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "benchmarks.md"


def test_a_ratio_is_held_to_its_target_and_a_figure_to_its_own() -> None:
    slow = compared("deploy", "s", 1.5, [2.0, 4.0, 3.0], peer=[1.0, 2.0, 1.5], by_ratio=True)
    assert (slow.ours, slow.peer, slow.ratio, slow.holds) == (3.0, 1.5, 2.0, False)
    assert (slow.spread, slow.peer_spread) == ((2.0, 4.0), (1.0, 2.0))
    silent = compared("silence", "ms", 50, [60, 40, 45], peer=[1500])
    assert (silent.ours, silent.holds) == (45, True)


def test_without_a_peer_there_is_no_ratio_and_no_verdict_on_it() -> None:
    row = compared("deploy", "s", 1.5, [2.0], peer_name="no docker-compose here", by_ratio=True)
    assert (row.ours, row.peer, row.ratio, row.holds) == (2.0, None, None, None)


def test_nothing_measured_is_neither_good_nor_bad(capsys: pytest.CaptureFixture[str]) -> None:
    row = compared("deploy", "s", 1.5, [], peer_name="no Docker here")
    assert row.holds is None
    report([row], as_json=False)
    assert "not measured" in (said := capsys.readouterr().out)
    assert "no Docker here" in said


def test_the_document_has_the_fields_that_its_page_names(capsys: pytest.CaptureFixture[str]) -> None:
    report([compared("deploy", "s", 1.5, [2.0])], as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "dcops.benchmark/1"
    table = PAGE.read_text().partition("## The object")[2]
    named = {name for cell in re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE) for name in cell.split("`")}
    assert document["rows"][0].keys() == {each.name for each in fields(Row)} == named - {"", ", "}
