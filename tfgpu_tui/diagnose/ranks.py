"""Family F: the ranks of a job against each other: who holds the others back, and of whom nothing is heard (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tfgpu_tui.core import fleet, units
from tfgpu_tui.core.fleet import Excess, Own, Row
from tfgpu_tui.diagnose.finding import WARNING_SHARE, Finding, severity_of


def findings(ranks: Sequence[Row], watched: bool = True) -> Iterator[Finding]:
    """Of the ranks of one job, in their order. Silence is told only by a reader who `watched` it, on time."""
    if watched:
        yield from _silent(ranks)
    yield from _input(ranks)
    yield from _host(ranks)


def _input(ranks: Sequence[Row]) -> Iterator[Finding]:
    found = fleet.straggler(ranks, lambda row: row.input, WARNING_SHARE)
    if found is not None:
        yield Finding(
            id="run.straggler_input",
            severity=_severity(found),
            title=_title(found, "waits {more} a step longer for its input than {usual}"),
            lines=_lines(found, ranks, "input wait", "input.", lambda row: row.input),
            next=f"Look at its run for what its input waits for: tfgpu-tui attach {found.row.key}",
            evidence=_evidence(found),
            share=found.share,
        )


def _host(ranks: Sequence[Row]) -> Iterator[Finding]:
    found = fleet.straggler(ranks, lambda row: row.host_work, WARNING_SHARE)
    if found is not None:
        yield Finding(
            id="run.straggler_host",
            severity=_severity(found),
            title=_title(found, "spends {more} a step longer between its steps than {usual}"),
            lines=_lines(found, ranks, "host", "host.", lambda row: row.host_work),
            next=f"Look at its run for what its Python does between steps: tfgpu-tui attach {found.row.key}",
            evidence=_evidence(found),
            share=found.share,
        )


def _severity(found: Excess) -> str:
    """Of two ranks no spread is known: only told."""
    return (severity_of(found.share) or "info") if found.ranks >= fleet.SPREAD_RANKS else "info"


def _title(found: Excess, words: str) -> str:
    usual = "the median rank" if found.ranks >= fleet.SPREAD_RANKS else "the other rank"
    return f"{rank(found.row)} {words.format(more=units.duration(found.excess_s), usual=usual)}"


def rank(row: Row) -> str:
    """`Rank 3 on node7`."""
    return f"Rank {row.rank}" + (f" on {row.host}" if row.host else "")


def _lines(found: Excess, ranks: Sequence[Row], what: str, family: str, own: Callable[[Row], Own | None]) -> list[str]:
    each = [f"{row.rank}: {units.duration(work.mean_s)}" for row in ranks if (work := own(row)) is not None]
    out = [
        f"{what} by rank: {', '.join(each[:8])}{' …' if len(each) > 8 else ''}",
        f"all take {units.duration(found.step_s)} a step: the others wait for it in their computation",
    ]
    cause = next((one.id for one in found.row.findings if one.id.startswith(family)), None)
    return [*out, f"its own run has {cause}"] if cause is not None else out


def _evidence(found: Excess) -> dict[str, object]:
    row = found.row
    return {
        "job": row.job,
        "rank": row.rank,
        "host": row.host,
        "run": row.key,
        "own_ms": found.own_s * 1e3,
        "usual_ms": found.usual_s * 1e3,
        "noise_ms": found.noise_s * 1e3,
        "step_ms": found.step_s * 1e3,
        "ranks": found.ranks,
        "cause": next((one.id for one in row.findings), None),
    }


def _silent(ranks: Sequence[Row]) -> Iterator[Finding]:
    silent = fleet.silent(ranks)
    if silent:
        first = silent[0]
        others = f" and {len(silent) - 1} more" if len(silent) > 1 else ""
        yield Finding(
            id="run.rank_silent",
            severity="critical",
            title=f"{rank(first)}{others}: nothing heard for {units.duration(first.quiet_s)}, while others go on",
            lines=[
                f"{rank(row)}, run {row.key}: last seen {row.doing or 'starting'}"
                + (f", at step {row.step}" if row.step else "")
                for row in silent[:4]
            ],
            next="See whether that host is still there, and its process: in a synchronous job all ranks wait for it.",
            evidence={
                "job": first.job,
                "ranks": [row.rank for row in silent],
                "hosts": [row.host for row in silent],
                "runs": [row.key for row in silent],
                "quiet_s": first.quiet_s,
                "heard": [row.rank for row in ranks if row.goes_on and row.quiet_s < fleet.HEARD_S],
            },
        )
