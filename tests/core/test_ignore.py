from __future__ import annotations

import pytest

from dcops.core.ignore import Ignore


@pytest.mark.parametrize(
    ("pattern", "left_out", "kept"),
    [
        ("*.pyc", ["a.pyc", "b/c/a.pyc"], ["a.py", "a.pyc/x.py"]),
        ("__pycache__", ["__pycache__", "a/__pycache__"], ["pycache"]),
        ("/notes", ["notes"], ["a/notes"]),
        ("docs/*.md", ["docs/a.md"], ["docs/a/b.md", "x/docs/a.md"]),
        ("**/logs", ["logs", "a/b/logs"], ["logs.txt"]),
        ("logs/**", ["logs/a", "logs/a/b"], ["logs", "a/logs/b"]),
        ("a/**/z", ["a/z", "a/b/c/z"], ["z", "a/zz"]),
        ("file?.txt", ["file1.txt"], ["file10.txt", "file.txt"]),
        ("[ab].py", ["a.py"], ["c.py"]),
        ("[!ab].py", ["c.py"], ["a.py"]),
        ("a+b.(c)", ["a+b.(c)"], ["aab.c"]),
        ("# a comment", [], ["# a comment"]),
        ("  ", [], ["  "]),
    ],
)
def test_patterns(pattern: str, left_out: list[str], kept: list[str]) -> None:
    ignore = Ignore([pattern])
    assert [path for path in left_out + kept if ignore(path, directory=False)] == left_out


def test_a_slash_at_the_end_means_directories_only() -> None:
    ignore = Ignore(["build/"])
    assert ignore("a/build", directory=True)
    assert not ignore("a/build", directory=False)


def test_the_last_pattern_that_fits_wins() -> None:
    ignore = Ignore(["*.log", "!keep.log"])
    assert ignore("a.log", directory=False)
    assert not ignore("keep.log", directory=False)
