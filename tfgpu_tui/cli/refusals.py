"""What the command line refuses: a command that can't be carried out as it was typed."""

from __future__ import annotations

import os

MOST_WORDS = 2000
"""Characters of a refusal: it may hold what was typed."""
GONE = "the current folder does not exist any more: change to another one"


class UsageError(Exception):
    """The command can't be carried out as it was typed; the text is a whole sentence."""


def folder_is_gone() -> bool:
    """Whether somebody removed the current folder."""
    try:
        os.getcwd()
    except OSError:
        return True
    return False
