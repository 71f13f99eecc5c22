from __future__ import annotations

import pytest

from dcops.core.suggestion import did_you_mean


@pytest.mark.parametrize(
    ("word", "words", "said"),
    [
        ("use_bsh", ["use_bash", "use_file"], "did you mean use_bash?"),
        ("take", ["take_turns", "max_tokens"], "did you mean take_turns?"),
        ("zzz", ["b", "a"], "known: a, b"),
        ("zzz", [], ""),
    ],
)
def test_the_closest_word_or_what_there_is(word: str, words: list[str], said: str) -> None:
    assert did_you_mean(word, words) == said


def test_words_that_are_left_out_are_counted() -> None:
    said = did_you_mean("zzz", [f"word{number:02}" for number in range(29)])
    assert said.endswith("word18, word19 and 9 more")
