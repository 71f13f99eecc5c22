"""The shell by itself."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from dcops.agent.tools.shell import Shell

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
@pytest.mark.parametrize("turns_later", range(6))
def test_a_cancellation_that_comes_together_with_output_is_obeyed(tmp_path: Path, turns_later: int) -> None:
    async def main() -> None:
        shell = Shell(tmp_path)
        go = tmp_path / "go"

        async def run() -> None:
            async for _ in shell.run(f"until [ -e {go} ]; do sleep 0.01; done; echo out; sleep 60"):
                pass

        task = asyncio.create_task(run())
        try:
            await asyncio.sleep(0.03)
            go.touch()
            time.sleep(0.1)  # noqa: ASYNC251 - the loop must find the output and the cancellation at once
            for _ in range(turns_later):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task}, timeout=5)
            assert task.cancelled()
        finally:
            await shell.kill()

    asyncio.run(main())
