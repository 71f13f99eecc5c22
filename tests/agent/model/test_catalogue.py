"""The models endpoint is asked once, and never in a turn's way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dcops.agent.model import catalogue as catalogue_module
from dcops.agent.model.catalogue import Catalogue
from dcops.agent.model.models import model

NAME = "claude-sonnet-5"


class Endpoint:
    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.answer_now = asyncio.Event()
        self.answer_now.set()
        self.was_asked = asyncio.Event()

    async def __call__(self, name: str) -> dict[str, Any]:
        self.asked.append(name)
        self.was_asked.set()
        await self.answer_now.wait()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)


def test_a_model_is_asked_for_once() -> None:
    async def run() -> None:
        endpoint = Endpoint({"max_tokens": 5_000})
        catalogue = Catalogue(endpoint)
        both = await asyncio.gather(catalogue.limits(NAME), catalogue.limits(NAME))
        assert [limits.max_output for limits in both] == [5_000, 5_000]
        assert (await catalogue.limits(NAME)).max_output == 5_000
        assert endpoint.asked == [NAME]

    asyncio.run(run())


def test_a_slow_answer_delays_nothing_and_counts_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        monkeypatch.setattr(catalogue_module, "MOMENT", 0.01)
        endpoint = Endpoint({"max_tokens": 5_000})
        endpoint.answer_now.clear()
        catalogue = Catalogue(endpoint)
        assert await catalogue.limits(NAME) == model(NAME)
        endpoint.answer_now.set()
        monkeypatch.setattr(catalogue_module, "MOMENT", 10)
        assert (await catalogue.limits(NAME)).max_output == 5_000
        assert endpoint.asked == [NAME]

    asyncio.run(run())


def test_a_turn_that_is_stopped_does_not_stop_the_question() -> None:
    async def run() -> None:
        endpoint = Endpoint({"max_tokens": 5_000})
        endpoint.answer_now.clear()
        catalogue = Catalogue(endpoint)
        waiting = asyncio.create_task(catalogue.limits(NAME))
        await endpoint.was_asked.wait()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        endpoint.answer_now.set()
        assert (await catalogue.limits(NAME)).max_output == 5_000
        assert endpoint.asked == [NAME]

    asyncio.run(run())


@pytest.mark.parametrize("answer", [ValueError("no"), {"max_tokens": 1, "retires_at": "soon"}])
def test_no_answer_is_the_table_and_is_asked_again_later(
    answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        endpoint = Endpoint(answer, {"max_tokens": 5_000})
        catalogue = Catalogue(endpoint)
        assert await catalogue.limits(NAME) == model(NAME)
        assert await catalogue.limits(NAME) == model(NAME)
        assert len(endpoint.asked) == 1
        now = catalogue_module.time.monotonic() + catalogue_module.AGAIN
        monkeypatch.setattr(catalogue_module.time, "monotonic", lambda: now)
        assert (await catalogue.limits(NAME)).max_output == 5_000

    asyncio.run(run())


def test_an_endpoint_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        monkeypatch.setattr(catalogue_module, "PATIENCE", 0.01)
        endpoint = Endpoint({})
        endpoint.answer_now.clear()
        catalogue = Catalogue(endpoint)
        assert await catalogue.limits(NAME) == model(NAME)
        assert len(endpoint.asked) == 1

    asyncio.run(run())
