"""Long lines of a report, folded at blanks for the terminal that they are printed on; a file gets them whole."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap

_HEAD = re.compile(r"\s*(?:\S+(?: \S+)*\s{2,}){0,2}")
"""Indentation and the words in front of a text, each with two blanks behind: `!! critical  `, `       next  `."""
_COMMAND = re.compile(r"[^:`]*:\s+tfgpu-tui \S")
"""A line that ends in a command, which would be two of them with a line break in it: it is left to the terminal."""
LEAST_COLUMNS = 40
MOST_INDENT = 28


def folded(text: str, columns: int) -> str:
    """The text with no line longer than `columns` where a blank allows it, but a command; what follows stands below the
    line's own beginning."""
    out: list[str] = []
    for line in text.split("\n"):
        if len(line) <= columns or _COMMAND.match(line):
            out.append(line)
            continue
        head = _HEAD.match(line)
        indent = min(len(head.group()) if head else 0, MOST_INDENT)
        out += textwrap.wrap(
            line, max(columns, LEAST_COLUMNS), subsequent_indent=" " * indent, drop_whitespace=True,
            break_long_words=False, break_on_hyphens=False, replace_whitespace=False,
        )  # fmt: skip
    return "\n".join(out)


def for_output(text: str) -> str:
    """The text for standard output: folded where that is a terminal."""
    return folded(text, shutil.get_terminal_size().columns) if sys.stdout.isatty() else text
