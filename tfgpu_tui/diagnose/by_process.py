"""Verdicts on each process that trains, and the one of them that a finding names (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose.finding import Finding
from tfgpu_tui.diagnose.ranking import ranked

Judge = Callable[[RunState], Iterable[Finding]]
SHOWN = 3
"""Other processes that a finding names."""


def findings(state: RunState, judge: Judge) -> Iterator[Finding]:
    """What `judge` finds in each process by itself: of each id what it says of the process where it is worst, with that
    process' name. Where one process trains, what it says of the run."""
    training = state.training.training()
    if len(training) < 2:
        yield from judge(state)
        return
    found: dict[str, dict[int | None, list[Finding]]] = {}
    for process in training:
        for finding in judge(state.of(process)):
            found.setdefault(finding.id, {}).setdefault(process.pid, []).append(finding)
    for of_id in found.values():
        yield from _of_the_worst(of_id, {process.pid: process.name for process in training})


def _of_the_worst(found: dict[int | None, list[Finding]], names: dict[int | None, str]) -> Iterator[Finding]:
    first = ranked(of_process[0] for of_process in found.values())[0]
    worst = next(pid for pid, of_process in found.items() if of_process[0] is first)
    also = [f"{names[pid]}: {of_process[0].title}" for pid, of_process in found.items() if pid != worst]
    without = [name for pid, name in names.items() if pid not in found]
    lines = also[:SHOWN]
    if len(also) > SHOWN:
        lines.append(f"and {len(also) - SHOWN} processes more")
    if without:
        lines.append(f"not in {_listed(without)}")
    for finding in found[worst]:
        yield replace(
            finding,
            title=f"{finding.title} ({names[worst]})",
            lines=[*finding.lines, *lines],
            evidence={**finding.evidence, "process": worst, "processes": list(found)},
        )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
