"""The fleet as rows of text: its table, what ranks show side by side, and how its reader sorts and narrows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from tfgpu_tui.core.fleet import Row as Run
from tfgpu_tui.core.severity import SEVERITIES
from tfgpu_tui.diagnose.register import REGISTER
from tfgpu_tui.fleet.watch import Picture, Told
from tfgpu_tui.report import fleet as text
from tfgpu_tui.terminal.lines import printable
from tfgpu_tui.ui import table
from tfgpu_tui.ui.draw import Box, Content, Role, Row, fit, spread
from tfgpu_tui.ui.table import Cell, Column

COLUMNS = (
    Column("host", least=6, most=20, yields=3),
    Column("job", least=7, most=16, yields=5),
    Column("rank", right=True, least=4, most=9, yields=4),
    Column("script", least=8, most=30, yields=6),
    Column("step", right=True, least=7, most=10),
    Column("step time", right=True, least=9, most=10),
    Column("input", right=True, least=5, most=6),
    Column("compute", right=True, least=7, most=7, yields=9),
    Column("host", right=True, least=5, most=6, yields=5),
    Column("GPU", right=True, least=5, most=9, yields=2),
    Column("GPU mem", right=True, least=8, most=9, yields=8),
    Column("memory", right=True, least=8, most=9, yields=7),
    Column("finding", least=18, most=60, grow=True),
    Column("since", right=True, least=5, most=8, yields=1),
)
"""The cells of `report.fleet.cells`; the highest `yields` gives way first where the terminal is narrow."""
APART = tuple(replace(c, yields=10) if c.head in ("job", "rank") else c for c in COLUMNS)
"""For runs that belong to no job."""
INPUT, HOST, FINDING = 6, 8, 12
FINDINGS_SHOWN = 3
KEYS = (("Enter", "opens"), ("s", "sort"), ("r", "reverse"), ("/", "filter"), ("q", "quit"))


@dataclass(frozen=True)
class Order:
    """A way to sort."""

    name: str
    key: Callable[[Run], tuple[float | str, ...]]


def _number(value: float | None) -> tuple[float, ...]:
    return (-1.0 if value is None else value,)


ORDERS = (
    Order("job and rank", lambda run: (run.job or "~", run.rank if run.rank is not None else 1 << 30, run.host)),
    Order("host", lambda run: (run.host,)),
    Order("script", lambda run: (run.script,)),
    Order("step", lambda run: _number(run.step)),
    Order("step time", lambda run: _number(run.step_s)),
    Order("input wait", lambda run: _number(run.shares[0])),
    Order("compute", lambda run: _number(run.shares[1])),
    Order("host time", lambda run: _number(run.shares[2])),
    Order("GPU busy", lambda run: _number(run.gpu_busy_percent)),
    Order("memory", lambda run: _number(run.memory_bytes)),
    Order("finding", lambda run: _weight(run)),
    Order("start", lambda run: (run.started,)),
)


def _weight(run: Run) -> tuple[int, float]:
    """The most severe and oldest first."""
    if not run.findings:
        return len(SEVERITIES), 0.0
    first = run.findings[0]
    return SEVERITIES.index(first.severity) if first.severity in SEVERITIES else len(SEVERITIES) - 1, first.since


@dataclass
class Look:
    """How its reader looks at the fleet."""

    order: int = 0
    reverse: bool = False
    words: str = ""
    """Only rows that hold each of them."""
    chosen: str | None = None
    """Key of the run under the cursor: it stays there when rows move."""
    widths: dict[int, int] = field(default_factory=dict)
    """Of the columns: they grow, and don't shrink, so that a number that loses a digit moves nothing."""
    room: int = 0
    """The width that they are for."""


def shown(picture: Picture, look: Look) -> list[Run]:
    """The rows in their order."""
    words = look.words.lower().split()
    rows = [run for run in picture.rows if all(word in _all_words(run) for word in words)]
    rows.sort(key=lambda run: run.key)
    return sorted(rows, key=ORDERS[look.order].key, reverse=look.reverse)


def _all_words(run: Run) -> str:
    names = [one.id for one in run.findings]
    return " ".join([run.key, run.host, run.job or "", run.script, run.doing, run.life, *names]).lower()


def content(picture: Picture, look: Look, box: Box) -> Content:
    """The whole pane."""
    runs = shown(picture, look)
    cells = [_cells(run, picture.now) for run in runs]
    widths = _widths(look, COLUMNS if any(run.job for run in runs) else APART, cells, box.width - 1)
    ranks = _ranks(picture.told, box.width) if box.height > 12 else []
    notes: list[Row] = [((f" not read: {note}", "warning"),) for note in picture.notes[:2]]
    head = ((" ", ""), *table.head(COLUMNS, widths))
    pinned: list[Row] = [*ranks, *notes, head]

    def line(i: int) -> Row:
        row = ((" ", ""), *table.body(COLUMNS, cells[i], widths))
        return tuple((part, "cursor") for part, _ in fit(row, box.width)) if i == box.cursor else row

    return Content(
        title=(("fleet", ""), *_title(picture, runs)),
        right=_right(look),
        pinned=pinned,
        count=len(runs) or 1,
        line=line if runs else lambda i: ((_nothing(picture, look), "muted"),),
        selectable=len(runs),
    )


def _title(picture: Picture, runs: Sequence[Run]) -> Row:
    live = sum(run.goes_on for run in runs)
    jobs = len({run.job for run in runs if run.job is not None})
    words = f"  {live} running" + (f", {len(runs) - live} not" if live < len(runs) else "")
    words += f", {jobs} job{'s' if jobs > 1 else ''}" if jobs else ""
    return ((words + (", reading …" if picture.behind else ""), "muted"),)


def _right(look: Look) -> Row:
    way = f"by {ORDERS[look.order].name}" + (", reversed" if look.reverse else "")
    return ((f"filter: {look.words}   " if look.words else "", "notice"), (way, "muted"))


def _nothing(picture: Picture, look: Look) -> str:
    if picture.behind:
        return " reading …"
    if look.words and picture.rows:
        return " nothing here has these words"
    return " " + printable(text.nothing_words(picture.asked, picture.jobless, picture.others))


def _cells(run: Run, now: float) -> list[Cell]:
    plain: Role = "" if run.goes_on else "muted"
    return [*_facts(run), (text.since(run, now), plain)]


@lru_cache(maxsize=1024)  # of many runs most rows are the same as a second before
def _facts(run: Run) -> list[Cell]:
    waits: Role = "input" if (run.shares[0] or 0.0) >= 0.1 else ""
    plain: Role = "" if run.goes_on else "muted"
    out: list[Cell] = [(printable(word), plain) for word in text.facts(run)]
    if run.goes_on:
        out[INPUT] = (out[INPUT][0], waits)
        out[HOST] = (out[HOST][0], "host" if (run.shares[2] or 0.0) >= 0.1 else "")
        if run.findings and not text.state_words(run):
            out[FINDING] = (out[FINDING][0], run.findings[0].severity or "warning")
    elif run.life != "ended":
        out[FINDING] = (out[FINDING][0], "critical")
    return out


def _widths(look: Look, columns: Sequence[Column], cells: Sequence[Sequence[Cell]], room: int) -> dict[int, int]:
    widths = table.layout(columns, cells, room)
    if look.room == room and look.widths.keys() == widths.keys():
        grown = {i: max(width, look.widths[i]) for i, width in widths.items() if i != FINDING}
        left = room - sum(grown.values()) - table.GAP * (len(widths) - 1)
        if left >= COLUMNS[FINDING].least:
            widths = {i: grown.get(i, left) for i in widths}
    look.widths, look.room = widths, room
    return widths


def _ranks(told: Sequence[Told], width: int) -> list[Row]:
    """What the ranks of each job show beside each other."""
    rows: list[Row] = []
    for one in sorted(told, key=lambda one: SEVERITIES.index(one.finding.severity))[:FINDINGS_SHOWN]:
        sign = {"critical": "!!", "warning": "! ", "info": "i "}[one.finding.severity]
        name = ((f"  job {one.job} ", "muted"),)
        title = printable(one.finding.title)
        rows.append(spread(((f" {sign} ", one.finding.severity), (title, one.finding.severity)), name, width))
        if one.finding.lines:
            rows.append(((f"    {printable(one.finding.lines[0])}", "muted"),))
    if len(told) > FINDINGS_SHOWN:
        rows.append(((f"    and {len(told) - FINDINGS_SHOWN} more", "muted"),))
    return [*rows, ()] if rows else []


def foot(picture: Picture, look: Look, width: int) -> list[Row]:
    """What the chosen run's first finding means, and the keys."""
    run = next((run for run in picture.rows if run.key == look.chosen), None)
    keys: Row = ((" ", ""), *(part for key, word in KEYS for part in ((key, "key"), (f" {word}   ", ""))))
    return [fit(_about(run, picture.now), width), fit(keys, width)]


def _about(run: Run | None, now: float) -> Row:
    if run is None:
        return ()
    words = f" {run.key}" + (f", job {run.job}" if run.job else "")
    if not run.findings or not run.goes_on:
        return ((printable(f"{words}: {run.doing}"), "muted"),)
    first = run.findings[0]
    means = REGISTER[first.id].means if first.id in REGISTER else ""
    more = f" (and {len(run.findings) - 1} more)" if len(run.findings) > 1 else ""
    said: Role = first.severity or "warning"
    return ((printable(f"{words}: "), "muted"), (f"{first.id}", said), (f"{more}  {means}", ""))
