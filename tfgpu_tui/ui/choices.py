"""What the lists over the screen hold: every command, every setting, every run (pure functions)."""

from __future__ import annotations

import time
from collections.abc import Sequence

from tfgpu_tui.core import knobs, units
from tfgpu_tui.core.run_words import UNSEEN_WORDS
from tfgpu_tui.runs.listing import RunSummary
from tfgpu_tui.terminal.lines import printable
from tfgpu_tui.ui.draw import Role, Row, pad
from tfgpu_tui.ui.keys import GROUPS, Key
from tfgpu_tui.ui.picker import Item
from tfgpu_tui.ui.view import View

SETTING_HEAD: Row = ((f"{'setting':<22}{'this run':<18}{'in force':<18}next run", "muted"),)
RUN_HEAD: Row = ((f"{'':<2}{'run':<32}{'started':<18}{'took':>8}  how it ended", "muted"),)


def commands(keys: Sequence[Key], replaying: bool) -> list[Item]:
    """Everything that a key does, by what it does."""
    out = []
    for key in keys:
        if key.name in ("commands", "interrupt") or (key.group == "replay" and not replaying):
            continue
        out.append(Item(key.name, ((pad(key.label, 11), "key"), (key.help, "")), GROUPS[key.group]))
    return out


def settings(view: View) -> list[Item]:
    """Every knob: what this run was asked for, what is in force, what the next run will have."""
    in_force = view.state.knobs_in_force
    out = []
    for name, knob in knobs.ALL.items():
        asked = view.knobs.get(name, knobs.SCRIPT)
        following = view.next_knobs.get(name, knobs.SCRIPT)
        real = in_force.in_force.get(name) if in_force else None
        note = knob.summary + f". It can be {knob.accepts}."
        if in_force and name in in_force.notes:
            note = f"{printable(in_force.notes[name])}. {note}"
        overridden = asked != knobs.SCRIPT and real is not None and real != asked
        out.append(
            Item(
                name,
                (
                    (pad(name, 22), ""),
                    (pad(_asked(asked), 18), "muted" if asked == knobs.SCRIPT else "bold"),
                    (pad(printable(real) if real else units.UNKNOWN, 18), "warning" if overridden else ""),
                    (_asked(following), "notice" if following != asked else "muted"),
                ),
                note,
            )
        )
    return out


def _asked(value: str) -> str:
    return "as script" if value == knobs.SCRIPT else printable(value)


def runs(found: Sequence[RunSummary], shown: str, before: str | None) -> list[Item]:
    """All runs, newest first; marked: the one on the screen, and the one that it is compared with."""
    out = []
    for run in found:
        mark = ">" if run.id == shown else "=" if run.id == before else " "
        lasted = units.clock(run.ended - run.started) if run.ended else units.UNKNOWN
        words, role = _ending(run)
        started = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.started))
        row: Row = (
            (f"{mark} ", "focus"),
            (pad(printable(run.id), 31) + " ", "bold" if run.id == shown else ""),
            (f"{started:<18}", "muted"),
            (f"{lasted:>8}  ", ""),
            (words, role),
        )
        out.append(Item(run.id, row, printable(run.note or " ".join(run.argv))))
    return out


def _ending(run: RunSummary) -> tuple[str, Role]:
    if run.state == "running":
        return "running", "good"
    if run.state == "elsewhere" and run.goes_on:
        return f"runs on {run.host}", "good"
    if run.state != "ended":
        return UNSEEN_WORDS.get(run.state, run.state), "warning"
    failed = run.stopped is None and bool(run.exit_code or run.signal is not None)
    return run.ending or run.state, "critical" if failed else ""
