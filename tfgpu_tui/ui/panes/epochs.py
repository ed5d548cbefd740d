"""Ended epochs, newest first: their time, the pause before them, and their metrics."""

from __future__ import annotations

from rich.cells import cell_len

from tfgpu_tui.core import units
from tfgpu_tui.terminal.lines import printable
from tfgpu_tui.ui import table
from tfgpu_tui.ui.draw import Box, Content, note
from tfgpu_tui.ui.table import Cell, Column
from tfgpu_tui.ui.view import View


def drawn_from(view: View) -> object:
    """Equal as long as `content` draws the same in the same box; None where it may always be another."""
    history = view.state.history
    return (len(history), history[-1], view.state.epochs) if history else None


def content(view: View, box: Box) -> Content:
    """A table with one row an epoch."""
    history = list(view.state.history)
    title = (("epochs", ""),)
    if not history:
        words = view.waiting_words()
        if view.state.train.steps and view.state.running:
            words = "no epoch has ended yet" if view.state.epoch else "this loop has no epochs that can be seen"
        return note(title, words, box.width)
    names = list(dict.fromkeys(name for epoch in history for name in epoch.metrics))
    rows: list[list[Cell]] = []
    for epoch in reversed(history):
        values = [epoch.metrics.get(n) for n in names]
        rows.append([
            (str(epoch.epoch), "bold"),
            (units.duration(epoch.wall_s), ""),
            (str(epoch.steps) if epoch.steps is not None else units.UNKNOWN, "muted"),
            *((printable(v), "critical") if isinstance(v, str) else (units.number(v, 4), "") for v in values),
        ])  # fmt: skip
    # A number that is cut is a wrong number: a metric is shown whole or not at all.
    needs = [max(cell_len(row[3 + i][0]) for row in rows) for i in range(len(names))]
    columns = [
        Column("epoch", right=True, least=5),
        Column("time", right=True, least=6),
        Column("steps", right=True, least=5, yields=99),
        *(
            Column(printable(n), right=True, least=max(6, need), most=max(14, need), yields=1 + i)
            for i, (n, need) in enumerate(zip(names, needs, strict=True))
        ),
    ]
    widths = table.layout(columns, rows, box.width - 1)
    of = f"of {view.state.epochs}" if view.state.epochs else ""
    return Content(
        title=((f"epochs {len(history)} {of}".rstrip(), ""),),
        pinned=[((" ", ""), *table.head(columns, widths))],
        count=len(rows),
        line=lambda i: ((" ", ""), *table.body(columns, rows[i], widths)),
    )
