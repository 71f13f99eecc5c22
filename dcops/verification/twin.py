"""The twin as the suites' process sees it: its control is asked of the process that started the suites."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dcops.core.verification import ControlFile
    from dcops.verification.channel import Channel


class ControlError(Exception):
    """The other side could not do to the twin what a check asked for: no fault of the twin."""


class Twin:
    """`TwinControl` over a channel."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def write_control(self, name: ControlFile, content: bytes) -> None:
        self._ask("write_control", name, content.decode("latin-1"))

    def restart(self) -> float:
        return float(self._ask("restart"))

    def kill(self) -> None:
        self._ask("kill")

    def logs(self, lines: int) -> list[str]:
        return list(self._ask("logs", lines))

    def script(self, script: Mapping[str, Any] | None) -> None:
        self._ask("script", script)

    def model_requests(self) -> list[dict[str, Any]]:
        return list(self._ask("model_requests"))

    def open_gate(self, name: str) -> None:
        self._ask("open_gate", name)

    def _ask(self, method: str, *arguments: Any) -> Any:
        try:
            self._channel.send({"ask": method, "arguments": arguments})
            answer = self._channel.receive()
        except OSError as error:
            raise ControlError(f"{method}: {error}") from error
        if answer is None or "error" in answer:
            raise ControlError((answer or {}).get("error", "the process that started the suites is gone"))
        return answer["answer"]
