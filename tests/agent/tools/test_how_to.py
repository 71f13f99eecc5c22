"""The tool that the documentation shows, as it stands there."""

from __future__ import annotations

import asyncio
import re
import sys
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest

from dcops.agent.tools.registry import Registry

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "write-a-tool.md"


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Any:
    code = re.findall(r"```python\n# dcops/agent/tools/count\.py\n(.*?)```", PAGE.read_text(), re.DOTALL)[0]
    module = module_from_spec(spec_from_loader("dcops.agent.tools.count", None))  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(code, str(PAGE), "exec"), module.__dict__)
    return module.__dict__["Count"]()


def test_the_tool_of_the_page_works(house: Any, say: Any, count: Any) -> None:
    house.use(Registry([count]))
    (house.workspace / "words.txt").write_text("one two two\nthree three three\n")
    calls = [
        say.call("c1", "count", path="words.txt", most=2),
        say.call("c2", "count", path="../secret"),
        say.call("c3", "count", path="missing"),
        say.call("c4", "count", file="words.txt"),
    ]
    turn = asyncio.run(house.turn("go", say.reply(*calls, stop="tool_use"), say.reply(say.text("done"))))
    assert turn.state == "done"
    told = {call: result["content"][0]["text"] for call, result in house.results().items()}
    assert told["c1"] == "3 three\n2 two\n"
    assert "leaves the workspace" in told["c2"]
    assert "No such file" in told["c3"]
    assert "does not fit" in told["c4"]
    assert [value["percent"] for value in house.customs("tool.progress")][-1] == 100.0
