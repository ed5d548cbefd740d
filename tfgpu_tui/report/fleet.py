"""The fleet as lines of text and as JSON (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from tfgpu_tui.core import units
from tfgpu_tui.core.fleet import Row
from tfgpu_tui.diagnose import Finding
from tfgpu_tui.report.report_json import finding_row
from tfgpu_tui.terminal.lines import printable

HEAD = ("host", "job", "rank", "script", "step", "step time", "input", "compute", "host", "GPU", "GPU mem", "memory",
        "finding", "since")  # fmt: skip


def cells(row: Row, now: float) -> tuple[str, ...]:
    """What a row says below HEAD; `now` in unix seconds."""
    return (*facts(row), since(row, now))


def facts(row: Row) -> tuple[str, ...]:
    """What a row says below HEAD, but for the last of it, which changes with the time."""
    wait, compute, host = row.shares
    first = row.findings[0] if row.findings else None
    return (
        row.host or units.UNKNOWN,
        row.job or units.UNKNOWN,
        units.UNKNOWN if row.rank is None else f"{row.rank}" + (f"/{row.world_size}" if row.world_size else ""),
        row.script,
        units.UNKNOWN if row.step is None else str(row.step),
        units.duration(row.step_s),
        units.share(wait),
        units.share(compute),
        units.share(host),
        units.percent(row.gpu_busy_percent) + (f" x{row.gpus}" if row.gpus > 1 else ""),
        units.size(row.gpu_memory_bytes),
        units.size(row.memory_bytes),
        state_words(row) or (first.id if first else ""),
    )


def since(row: Row, now: float) -> str:
    """For how long the first finding of a run that goes on stands."""
    return units.clock(now - row.findings[0].since) if row.findings and row.goes_on else ""


def state_words(row: Row) -> str:
    """Why a row does not change; '' for a run that goes on."""
    if row.life == "ended":
        return row.doing
    if row.life == "lost":
        return "lost: its monitor is gone"
    if not row.goes_on:
        return f"silent for {units.duration(row.quiet_s)}" if row.quiet_s > 0 else row.life
    return row.doing if row.step is None else ""


def lines(rows: Sequence[Row], told: Iterable[tuple[str, Finding]], notes: Iterable[str], now: float) -> list[str]:
    """A table, then what the ranks of each job show beside each other."""
    table = [HEAD, *(cells(row, now) for row in rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(HEAD))]
    out = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]
    for job, finding in told:
        out += ["", f"job {job}: {finding.severity}: {finding.title}  [{finding.id}]"]
        out += [f"  {line}" for line in [*finding.lines, f"next: {finding.next}"]]
    return [printable(line) for line in [*out, *(f"not read: {note}" for note in notes)]]


def nothing_words(asked: str | None, jobless: int, others: int) -> str:
    """Why there is no row. `asked`: for the runs of this job alone; of the others that run, how many told no job (a
    process does once TensorFlow is imported), and how many another one."""
    if asked is None or not jobless + others:
        return "nothing runs" + (f", of job {asked} or of any" if asked else "")
    runs = [f"{jobless} {'run' if jobless == 1 else 'runs'} told no job so far"] if jobless else []
    runs += [f"{others} {'is' if others == 1 else 'are'} of other jobs"] if others else []
    return f"no run of job {asked}{' yet' if jobless else ''}: {', '.join(runs)}"


def as_json(
    rows: Sequence[Row], told: Iterable[tuple[str, Finding]], notes: Iterable[str], now: float
) -> dict[str, Any]:
    """For scripts; times in unix seconds, unknown is null."""
    return {
        "t": round(now, 3),
        "runs": [{**asdict(row), "goes_on": row.goes_on} for row in rows],
        "findings": [{"job": job, **finding_row(finding)} for job, finding in told],
        "not_read": list(notes),
    }
