"""Asks every family of causes about a run (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose import (
    by_process,
    compute,
    compute_inside,
    compute_unmeasured,
    gpu,
    gpu_growth,
    gpu_held,
    gpu_run,
    host,
    host_calls,
    host_debugging,
    host_edges,
    host_graphs,
    host_growth,
    input_copies,
    input_lost,
    input_wait,
    loss,
    memory,
    placement,
    precision,
    run,
    stalled,
    whole_run,
)
from tfgpu_tui.diagnose.finding import Finding
from tfgpu_tui.diagnose.ranking import ranked

OF_RUN = (
    run.findings, stalled.findings, memory.findings, gpu.findings, gpu_run.findings, gpu_held.findings,
)  # fmt: skip
"""Of the run and the machine: asked once, of all processes together."""
OF_PROCESS = (
    loss.findings, input_lost.findings, input_wait.findings, input_copies.findings, host.findings, host_graphs.findings,
    host_edges.findings, host_calls.findings, host_debugging.findings, host_growth.findings, placement.findings,
    precision.findings, compute.findings, compute_inside.findings, compute_unmeasured.findings,
    memory.of_process, gpu_growth.findings,
)  # fmt: skip
"""Of a process that trains: asked of each."""


def verdict(state: RunState) -> list[Finding]:
    """Everything that is wrong with this run as far as it was measured, the most costly first."""
    together = state.together()
    of_run = [finding for findings in OF_RUN for finding in findings(together)]
    found = [*of_run, *whole_run.relative(state, by_process.findings(state, _of_process))]
    return ranked([*found, *whole_run.findings(together, {finding.id for finding in found})])


def _of_process(state: RunState) -> Iterator[Finding]:
    for findings in OF_PROCESS:
        yield from findings(state)
