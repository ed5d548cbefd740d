"""An experiment of `try`, found by its id and shown: as text, as JSON, as a page."""

from __future__ import annotations

import json

from tfgpu_tui.terminal.lines import printable_lines
from tfgpu_tui.terminal.long_lines import for_output
from tfgpu_tui.trials import decide, groups, page, schedule, table
from tfgpu_tui.trials.records import Group

HELPED, NOTHING_DID, NOT_TRIED = 0, 1, 2


def known(text: str) -> Group | None:
    """The experiment that is meant; None where there is none of that id. Raises rundir.StateDirError."""
    try:
        return groups.find(text)
    except groups.GroupNotFound:
        return None


def status(group: Group) -> int:
    """0: something helps; 1: nothing that was tried does; 2: it was not tried, or not to the end."""
    if decide.helped(group):
        return HELPED
    whole = group.ended in ("done", "budget") and schedule.reference(group) is not None
    open_ = table.untried(group) or table.undecided(group) or table.too_short(group)
    return NOTHING_DID if whole and not open_ else NOT_TRIED


def stop(group: Group) -> bool:
    """Asks it to end; False where it does not go on here."""
    return groups.stop(group)


def show(group: Group, as_json: bool) -> None:
    """On stdout; of one that goes on, so far."""
    if as_json:
        print(json.dumps(table.as_json(group), indent=1, allow_nan=False))
        return
    alive = groups.goes_on(group)
    print(for_output(printable_lines(table.text(group, go_on=not alive))))
    if alive:
        print(f"\nIt goes on: tfgpu-tui attach {group.id}")


def html(group: Group) -> str:
    """As a page."""
    return page.html(group)
