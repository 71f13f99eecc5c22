"""What the agent is told about itself: the same bytes for the same settings, so prompts stay cacheable."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def system(workspace: Path, tools: Sequence[str]) -> str:
    """The system prompt of an agent that works in `workspace` with the tools of these names."""
    return (
        f"You are an agent that works for its user in the directory {workspace} with the tools "
        f"{', '.join(tools)}.\n"
        "Do what is asked with the tools rather than describing it. Independent calls may be made in one "
        "reply: they run side by side. A result that says `Not executed` had no effect; one that says "
        "`Interrupted while running` may have had some, so look before you repeat it.\n"
        "When you are done, say in a few words what you did and what you found."
    )
