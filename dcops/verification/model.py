"""The scripted model behind the twin's gateway, as checks use it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dcops.core.verification import TwinControl

Reply = dict[str, Any]
Block = dict[str, Any]


class Model:
    """Says what the twin's model answers, and tells what it was asked."""

    def __init__(self, twin: TwinControl) -> None:
        self._twin = twin
        self._scripted = False

    def replies(self, *replies: Reply) -> None:
        """Answer the next requests with these replies, one each; a further request is an error."""
        self._scripted = True
        self._twin.script({"replies": list(replies), "after": "error"})

    def requests(self) -> list[dict[str, Any]]:
        """Bodies of the requests for a reply since the last `replies`."""
        return [each["body"] for each in self._twin.model_requests() if each["path"] == "/v1/messages"]

    def problems(self) -> list[str]:
        """Why requests since the last `replies` were refused: what the API does not accept in them."""
        return [problem for each in self._twin.model_requests() for problem in each["problems"]]

    def open(self, gate: str) -> None:
        """Let a reply go on that holds at this gate."""
        self._twin.open_gate(gate)

    def reset(self) -> None:
        """Go back to the offline assistant."""
        if self._scripted:
            self._twin.script(None)
            self._scripted = False


def reply(*blocks: Block, **timing: Any) -> Reply:
    """A reply of these blocks; its end is ``tool_use`` when it has a call.

    Args:
        *blocks: From `text`, `thinking` and `call`.
        **timing: Fields of a script's reply: ``chunk`` (characters a delta), ``delay``, ``stall_after``
            (events) with ``gate``, ``error_after``, ``disconnect_after`` ...
    """
    calls = any(block["type"] == "tool_use" for block in blocks)
    return {"content": list(blocks), "stop_reason": "tool_use" if calls else "end_turn", **timing}


def text(words: str) -> Block:
    return {"type": "text", "text": words}


def thinking(words: str) -> Block:
    return {"type": "thinking", "thinking": words}


def call(identity: str, name: str, **arguments: Any) -> Block:
    """A tool call with this id."""
    return {"type": "tool_use", "id": identity, "name": name, "input": arguments}
