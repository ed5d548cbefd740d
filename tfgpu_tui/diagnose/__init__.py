"""RunState -> ranked findings: one module for each family of causes in the list of findings (pure).

A finding needs its signal, measured; a missing signal makes it incomplete, never silent and never guessed. Nothing is
judged before `state.STEADY_STEPS` steps after warm-up.
"""

from __future__ import annotations

from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose import (
    gpu,
    gpu_run,
    host,
    host_calls,
    host_debugging,
    host_edges,
    host_graphs,
    host_growth,
    input_lost,
    input_wait,
    loss,
    memory,
    placement,
    precision,
    run,
)
from tfgpu_tui.diagnose.finding import Finding, FindingLog, ranked

FAMILIES = (
    run, loss, input_lost, input_wait, host, host_graphs, host_edges, host_calls, host_debugging, memory, host_growth,
    gpu, gpu_run, placement, precision,
)  # fmt: skip

__all__ = ["Finding", "FindingLog", "diagnose"]


def diagnose(state: RunState) -> list[Finding]:
    """Everything that is wrong with this run as far as it was measured, the most costly first."""
    return ranked(finding for family in FAMILIES for finding in family.findings(state))
