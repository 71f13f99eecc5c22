"""AG-UI's own way in: a `RunAgentInput` starts a turn, the run's events come back in the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.routing import Route

from .requests import bad, chosen_id, idempotency_key, instance_of, json_object, text_field
from .sse import EventStream

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


async def run(request: Request) -> Response:
    """Run the newest user message in the session that `threadId` names, which is made if there is none.

    The turn's id is the `runId`, so a request that is repeated gets the same run's events again.
    """
    instance = instance_of(request)
    body = await json_object(request, allowed=None)
    session = chosen_id(body, "threadId")
    run_id = chosen_id(body, "runId") if "runId" in body else None
    text, key = _newest_input(body), idempotency_key(request)
    turn = await instance.start_turn(session, text, key, create=True, turn_id=run_id)
    after = instance.journal.began_after(turn)
    return EventStream(instance, session, after, run=turn.id).response()


def _newest_input(body: dict[str, Any]) -> str:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not isinstance(messages[-1], dict):
        raise bad("'messages' is missing or empty.", "Send the conversation, the user's message last.")
    newest = messages[-1]
    if newest.get("role") != "user":
        raise bad("The last message is not the user's.", "Send the user's message last.")
    content = newest.get("content")
    if isinstance(content, list):  # AG-UI's parts: text, and what this agent cannot take yet
        if any(not isinstance(part, dict) or part.get("type") != "text" for part in content):
            raise bad("Only text is taken as input.", "Send parts of type text.")
        content = "\n".join(str(part.get("text", "")) for part in content)
    return text_field({"content": content}, "content")


ROUTES = [Route("/agui", run, methods=["POST"])]
