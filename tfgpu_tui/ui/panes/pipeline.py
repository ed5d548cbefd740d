"""The input pipeline from source to model, stage by stage, the slowest marked."""

from __future__ import annotations

from rich.cells import cell_len

from tfgpu_tui.core import units
from tfgpu_tui.core.rows import Stage, UserFunction
from tfgpu_tui.diagnose.finding import WARNING_SHARE
from tfgpu_tui.diagnose.stages import batch_s, slowest_stage, stage_shares
from tfgpu_tui.terminal.lines import printable
from tfgpu_tui.ui import table
from tfgpu_tui.ui.draw import Box, Content, Role, Row, clip, note, static, width_of
from tfgpu_tui.ui.table import Cell, Column
from tfgpu_tui.ui.view import View

COLUMNS = (
    Column("", least=1, most=1),
    Column("stage", least=30, most=44, grow=True),
    Column("ms a batch", right=True, least=10),
    Column("share", right=True, least=5),
    Column("an element", right=True, least=10, yields=4),
    Column("at a time", right=True, least=9, yields=2),
    Column("buffer", right=True, least=9, yields=3),
    Column("where", least=14, most=40, yields=1, path=True),
)


def drawn_from(view: View) -> object:
    """Equal as long as `content` draws the same in the same box; None where it may always be another."""
    pipeline, dataset = view.state.pipeline, view.state.dataset
    if pipeline is None or not (pipeline.stages or pipeline.user):
        return None
    wait = view.state.current().shares()["input_wait"]
    told = (units.share(wait), wait is not None and wait >= WARNING_SHARE, wait is not None and wait >= 0.1)
    return pipeline, dataset, told, slowest_stage(view.state)


def content(view: View, box: Box) -> Content:
    """A table in the order in which data flows; without times the chain alone and why."""
    pipeline, dataset = view.state.pipeline, view.state.dataset
    kind = f" {dataset.kind}" if dataset is not None else ""
    title: Row = ((f"input pipeline{printable(kind)}", ""),)
    if pipeline is None or not (pipeline.stages or pipeline.user):
        return note(title, _why_empty(view), box.width)
    wait = view.state.current().shares()["input_wait"]
    # In a healthy run, where the step waits for no input, no stage is slow.
    slowest = slowest_stage(view.state) if wait is not None and wait >= WARNING_SHARE else None
    shares = stage_shares(pipeline.stages)
    rows = [_cells(s, share, s is slowest, view) for s, share in zip(pipeline.stages, shares, strict=True)]
    rows += [_user_cells(user, view) for user in pipeline.user]
    widths = table.layout(COLUMNS, rows, box.width - 1)
    right: Row = ((clip(printable(pipeline.note), max(0, box.width - 30)), "muted"),) if pipeline.note else ()
    if not right and wait is not None:
        right = ((f"the step waits {units.share(wait)}", "input" if wait >= 0.1 else "muted"),)
    chain = _chain(view, slowest, box.width) if pipeline.stages else []
    if len(rows) + 1 > box.height and not box.zoomed and box.height <= 3:
        return static(title, [*chain[: max(1, box.height - 1)], _slowest(slowest, view)][: box.height], right)
    shown_chain = chain if box.height >= len(rows) + 1 + len(chain) or box.zoomed else []
    return Content(
        title=title,
        right=right,
        pinned=[*shown_chain, table.head(COLUMNS, widths)],
        count=len(rows),
        line=lambda i: table.body(COLUMNS, rows[i], widths),
    )


def _why_empty(view: View) -> str:
    if view.state.pipeline is not None and view.state.pipeline.note:
        return view.state.pipeline.note
    dataset = view.state.dataset
    if dataset is not None and view.state.train.steps:
        if dataset.kind == "arrays":
            return "arrays in memory: Keras slices the batches itself, nothing is read meanwhile"
        return f"the data comes from {dataset.kind}; its stages are not known yet"
    return view.waiting_words()


def _name(stage: Stage) -> str:
    name = printable(str(stage.get("name") or stage.get("stage") or "?"))
    return f"{name} (Python)" if stage.get("python") else name


def _where(row: Stage | UserFunction, view: View) -> str:
    file, line = row.get("file"), row.get("line")
    if not file:
        return ""
    name = printable(view.state.places.file(file))
    return f"{name}:{line}" if line else name


def _cells(stage: Stage, share: float | None, slowest: bool, view: View) -> list[Cell]:
    role: Role = "input" if slowest else ""
    per_batch = stage.get("per_batch_us")
    self_us, parallel = stage.get("self_us"), stage.get("parallelism")
    at_a_time = units.UNKNOWN if parallel is None else f"{parallel:g}"
    if stage.get("autotuned"):
        at_a_time += " auto"
    buffered, size = stage.get("buffered"), stage.get("buffer_size")
    buffer = "" if size is None and buffered is None else f"{_count(buffered)}/{_count(size)}"
    return [
        (view.glyphs.focus if slowest else "", "input"),
        (_name(stage), role),
        (_ms(per_batch), role),
        (units.share(share), role),
        (units.duration(self_us / 1e6) if self_us is not None else units.UNKNOWN, "muted"),
        (at_a_time, ""),
        (buffer, "muted"),
        (_where(stage, view), "muted"),
    ]


def _user_cells(user: UserFunction, view: View) -> list[Cell]:
    mean = user.get("mean_us")
    return [
        ("", ""),
        (f"your {printable(str(user.get('kind') or 'Python'))} {printable(str(user.get('name') or ''))}", ""),
        (units.UNKNOWN, "muted"),
        (units.UNKNOWN, "muted"),
        (units.duration(mean / 1e6) if mean is not None else units.UNKNOWN, ""),
        (units.UNKNOWN, "muted"),
        ("", ""),
        (_where(user, view), "muted"),
    ]


def _count(value: float | None) -> str:
    return units.UNKNOWN if value is None else f"{value:g}"


def _ms(per_batch_us: float | None) -> str:
    if per_batch_us is None:
        return units.UNKNOWN
    return "< 0.001" if 0 < per_batch_us < 1 else units.number(per_batch_us / 1e3)


def _chain(view: View, slow: Stage | None, width: int) -> list[Row]:
    """The stages in as few lines as they need: `TFRecord ▸ ◀ Map load 38 ms ▶ ▸ Batch ▸ model`."""
    assert view.state.pipeline is not None
    spans: list[Cell] = []
    for stage in view.state.pipeline.stages:
        text = _name(stage)
        if stage.get("per_batch_us"):
            text += f" {units.duration(batch_s(stage))}"
        left, right = view.glyphs.slow
        spans.append((f"{left} {text} {right}", "input") if stage is slow else (text, ""))
        spans.append((f" {view.glyphs.arrow} ", "muted"))
    spans.append(("model", "muted"))
    rows: list[list[Cell]] = [[(" ", "")]]
    for span in spans:
        if width_of(rows[-1]) + cell_len(span[0].rstrip()) > width:
            rows.append([("   ", "")])
        rows[-1].append(span)
    return [tuple(row) for row in rows]


def _slowest(slow: Stage | None, view: View) -> Row:
    if slow is None:
        return ()
    where = f" at {_where(slow, view)}" if slow.get("file") else ""
    return ((" slowest ", "muted"), (f"{_name(slow)}{where}", "input"))
