"""An experiment of `try`, found by its id and shown: as text, as JSON, as a page."""

from __future__ import annotations

import json

from tfgpu_tui.terminal.lines import printable_lines
from tfgpu_tui.terminal.long_lines import for_output
from tfgpu_tui.trials import groups, page, table
from tfgpu_tui.trials.records import Group


def known(text: str) -> Group | None:
    """The experiment that is meant; None where there is none of that id. Raises rundir.StateDirError."""
    try:
        return groups.find(text)
    except groups.GroupNotFound:
        return None


def show(group: Group, as_json: bool) -> None:
    """On stdout."""
    told = json.dumps(table.as_json(group), indent=1, allow_nan=False) if as_json else None
    print(for_output(printable_lines(table.text(group))) if told is None else told)


def html(group: Group) -> str:
    """As a page."""
    return page.html(group)
