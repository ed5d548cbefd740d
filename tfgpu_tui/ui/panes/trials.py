"""The experiment: a row for each setting, what is tried now and what comes, and at the end what to keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfgpu_tui.core import units
from tfgpu_tui.terminal.lines import printable
from tfgpu_tui.ui import table
from tfgpu_tui.ui.draw import Box, Content, Role, Row, note, wrap
from tfgpu_tui.ui.table import Cell, Column
from tfgpu_tui.ui.view import Trials, View

if TYPE_CHECKING:
    from tfgpu_tui.trials.records import Group

COLUMNS = (
    Column("", least=1, most=1),
    Column("setting", least=26, most=34),
    Column("step time", right=True, least=14, most=16),
    Column("times faster", right=True, least=12, most=14),
    Column("wait", right=True, least=4, most=5, yields=3),
    Column("GPU", right=True, least=4, most=5, yields=4),
    Column("memory", right=True, least=8, most=9, yields=6),
    Column("loss", right=True, least=6, most=8, yields=5),
    Column("remark", least=16, grow=True),
)
VERDICTS: dict[str, tuple[str, Role]] = {
    "baseline": ("as it is", "muted"), "faster": ("faster each time", "good"),
    "once": ("faster so far", "notice"), "so_far": ("faster, not proved", "notice"),
    "not_repeated": ("not repeated", "warning"), "slower": ("slower", "warning"), "nothing": ("no gain", "muted"),
    "unsure": ("within the noise", "muted"),
    "failed": ("failed", "critical"), "bound": ("only a limit", "info"),
}  # fmt: skip
ENDS = {
    "done": "all is tried", "budget": "the time is over", "stopped": "stopped", "refused": "it asks: go on?",
    "untriable": "it could not be measured", "occupied": "the run before did not end",
    "unkept": "the disk took no more",
}  # fmt: skip


def content(view: View, box: Box) -> Content:
    """The table; below it, once the experiment is over, what to keep."""
    trials = view.trials
    if trials is None:
        return note((("trials", ""),), "no experiment is on the screen", box.width)
    rows = _rows(trials, view)
    columns = COLUMNS if view.has_gpu else tuple(c for c in COLUMNS if c.head != "GPU")
    if not view.has_gpu:
        rows = [[cell for cell, column in zip(row, COLUMNS, strict=True) if column.head != "GPU"] for row in rows]
    widths = table.layout(columns, rows, box.width - 1)
    lines: list[Row] = [((" ", ""), *table.body(columns, row, widths)) for row in rows]
    lines += [
        ((f" {line}", role),)
        for text, role in _words(trials, view.key("try_settings"), box.zoomed)
        for line in wrap(text, box.width - 2)
    ]
    return Content(
        title=((f"try {_script(trials.group)}", ""),),
        right=((_progress(trials, view.now), "muted"),),
        pinned=[((" ", ""), *table.head(columns, widths))],
        count=len(lines),
        line=lines.__getitem__,
    )


def _script(group: Group) -> str:
    from tfgpu_tui.core.python_options import script_name

    return printable(script_name(group.argv))


def _progress(trials: Trials, now: float) -> str:
    """`4 trials, 1:20 of 5:00`."""
    group = trials.group
    count = f"{len(group.records)} trial{'' if len(group.records) == 1 else 's'} done"
    if trials.over:
        return f"{count}, {ENDS.get(group.ended or '', 'its process is gone')}"
    if group.until is None:
        return count
    spent = min(group.budget_s, max(0.0, now - (group.until - group.budget_s)))
    return f"{count}, {units.clock(spent)} of {units.clock(group.budget_s)}"


def _rows(trials: Trials, view: View) -> list[list[Cell]]:
    """What was tried, in the order of the plan; what is tried now; what comes."""
    from tfgpu_tui.trials import table as told  # late: no part of most first paints
    from tfgpu_tui.trials.records import words

    group, out, seen = trials.group, [], []
    now = group.now if not trials.over else None
    for row in told.rows(group):
        seen.append(row.setting)
        cells = told.cells(row)
        remark, role = VERDICTS[row.verdict]
        if row.verdict == "failed" and row.remarks:
            remark = row.remarks[0]
        out.append(_row(row.setting, now is not None and now.setting == row.setting, cells, remark, role, view))
    coming = [(c.setting, c.why) for c in group.plan.candidates] if group.plan is not None else [({}, "")]
    if now is not None:
        coming.append((now.setting, ""))
    for setting, why in coming:
        if setting in seen:
            continue
        seen.append(setting)
        runs = now is not None and now.setting == setting
        remark = _to_come(trials, why, runs)
        out.append(_row(setting, runs, (words(setting), *["–"] * 6), remark, "muted", view))
    return out


def _to_come(trials: Trials, why: str, runs: bool) -> str:
    if trials.over and not trials.asks:
        return "not reached"
    return why if runs else f"to come: {why}" if why else "as it is"


def _row(
    setting: dict[str, str], runs: bool, cells: tuple[str, ...], remark: str, role: Role, view: View
) -> list[Cell]:
    name, step, times, wait, gpu, memory, loss = (printable(cell) for cell in cells)
    unknown = times in ("–", "failed")
    return [
        (view.glyphs.arrow if runs else " ", "notice"),
        (name, "notice" if runs else "bold"),
        (step, "" if step != "–" else "muted"),
        (times, role if role == "good" else "muted" if unknown else ""),
        (wait, "muted"),
        (gpu, "muted"),
        (memory, "muted"),
        (loss, "muted"),
        (
            f"runs now{': ' + remark if unknown and setting else ''}" if runs else printable(remark),
            "notice" if runs else role,
        ),
    ]


def _words(trials: Trials, key: str, everything: bool) -> list[tuple[str, Role]]:
    """What follows from it, when it is over; in a zoomed pane also all remarks, and what is not tried."""
    from tfgpu_tui.trials import table as told

    group, out = trials.group, list[tuple[str, Role]]()
    if trials.asks:
        out.append((f"Each trial may write the script's files again: {key} asks whether to go on.", "notice"))
    elif trials.over:
        out += [(line, "good" if line.startswith("Keep:") else "bold") for line in told.keep(group)]
    if (trials.over and not trials.asks) or everything:
        out += [(line, "") for line in told.circumstances(group, go_on=trials.over)]
    if everything:
        out += [(f"{row.name}: {remark}", "muted") for row in told.rows(group) for remark in row.remarks]
        out += [(f"not tried: {line}", "muted") for line in told.left_out(group)]
    return out
