"""Python's own options in front of a script, as in `python -u -X dev train.py`: told apart, and passed on (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

_FLAGS = frozenset("bBdEiIOPqRsSuvx")
_WITH_VALUE = frozenset("WX")
_RUNS = frozenset("cm")
_LONG = "--check-hash-based-pycs"


class Taken(NamedTuple):
    """A command line after its first word, or its first two."""

    options: list[str]
    runs: list[str]
    """`["-m", "package.train"]` or `["-c", code]` where that is what runs; without the second where nothing follows."""
    rest: list[str]


def take(words: Sequence[str]) -> Taken | None:
    """Takes Python's option that `words` begin with, its value included; None where they begin with none. `-um pkg` is
    `-u -m pkg`, as Python reads it."""
    word = words[0]
    if word.partition("=")[0] == _LONG:
        return _taken(words, 1 if "=" in word else 2)
    if word.startswith("--") or len(word) < 2 or word[0] != "-":
        return None
    for index, letter in enumerate(word[1:], 1):
        attached = word[index + 1 :]
        if letter in _WITH_VALUE:
            return _taken(words, 1 if attached else 2)
        if letter in _RUNS:
            flags = [word[:index]] if index > 1 else []
            value = [attached] if attached else list(words[1:2])
            return Taken(flags, [f"-{letter}", *value], list(words[1 if attached else 2 :]))
        if letter not in _FLAGS:
            return None
    return _taken(words, 1)


def _taken(words: Sequence[str], count: int) -> Taken:
    return Taken(list(words[:count]), [], list(words[count:]))


def without_options(argv: Sequence[str]) -> list[str]:
    """A run's command line from what runs on: `["train.py", …]`, `["-m", "package.train", …]` or `["-c", code, …]`."""
    left = list(argv)
    while left and (taken := take(left)) is not None:
        if taken.runs:
            return taken.runs + taken.rest
        left = taken.rest
    return left


def script_name(argv: Sequence[str]) -> str:
    """`train.py`, `-m package.train`, `-c`; empty for no command line."""
    left = without_options(argv)
    if not left:
        return ""
    if left[0] == "-m" and len(left) > 1:
        return f"-m {left[1]}"
    return left[0].rstrip("/").rsplit("/", 1)[-1] or left[0]
