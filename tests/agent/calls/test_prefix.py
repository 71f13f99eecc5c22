from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcops.agent.calls.prefix import _LONGEST, SENTENCE, Prefix

TOOLS = ("bash", "files")


def announced(*pieces: str, tool: str = "bash") -> bool:
    prefix = Prefix(TOOLS)
    for piece in pieces:
        prefix.read(piece)
    return prefix.take(tool)


@pytest.mark.parametrize(
    "text",
    [
        "I'll now construct a complete function call for bash:",
        "I'll now construct a complete function call for [bash]:",
        "I\u2019ll now construct a complete function call for [bash]:",
        "Well. I'll now construct a complete function call for bash:\n\nThen more.",
        SENTENCE.format(tool="files") + SENTENCE.format(tool="bash"),
        SENTENCE.format(tool="bash") + SENTENCE.format(tool="files"),
    ],
)
def test_the_sentence_is_found(text: str) -> None:
    assert announced(text)
    assert announced(*text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I'll now construct a complete function call for [files]:",
        "I'll now construct a complete function call for [bash:",
        "I'll now construct a complete function call for bash]:",
        "I'll now construct a complete function call for bash",
        "I will now construct a complete function call for bash:",
        "I'll now construct a complete function call for bash2:",
    ],
)
def test_anything_else_is_not_the_sentence(text: str) -> None:
    assert not announced(text)
    assert not announced(*text)


def test_each_call_needs_its_own() -> None:
    prefix = Prefix(TOOLS)
    prefix.read(SENTENCE.format(tool="bash"))
    assert prefix.take("bash")
    assert not prefix.take("bash")
    prefix.read(SENTENCE.format(tool="bash")[:20])
    assert not prefix.take("bash")
    prefix.read(SENTENCE.format(tool="bash")[20:])
    assert not prefix.take("bash")  # half of it stood before a call


@given(before=st.text(), after=st.text(), cuts=st.lists(st.integers(0, 200)))
def test_it_is_found_wherever_the_text_is_cut(before: str, after: str, cuts: list[int]) -> None:
    text = before + SENTENCE.format(tool="bash") + after
    edges = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    assert announced(*(text[start:end] for start, end in pairwise(edges)))


def test_little_is_kept_of_a_long_text() -> None:
    prefix = Prefix(TOOLS)
    for n in range(1000):
        prefix.read(SENTENCE.format(tool=f"tool{n}") + "x" * 1000)
    assert len(prefix._tail) <= _LONGEST
    assert prefix._announced == set()
