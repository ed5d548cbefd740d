"""The machine and the run's process tree, sampled (pure)."""

from __future__ import annotations

from dataclasses import field

from tfgpu_tui.core import events as ev
from tfgpu_tui.core.quick import dataclass
from tfgpu_tui.core.series import Decimated, Series

SAMPLE_HOLDS_S = 5.0
"""A sample speaks for the time since the one before it, but never for longer than this."""
SERIES = (
    "cpu", "tree_cpu", "busiest_core", "rss", "host_memory", "disk_read", "file_read", "net_recv", "throttled",
    "granted_cores",
)  # fmt: skip


@dataclass
class Machine:
    """CPU, host memory, disk and network."""

    host: ev.HostSample | None = None
    rss_peak_bytes: int | None = None
    rss_by_step: Decimated = field(default_factory=Decimated)
    """(training steps, resident bytes of the process tree)."""
    children_by_step: Decimated = field(default_factory=Decimated)
    """(training steps, resident bytes of the script's child processes)."""
    oom_kills_before: int | None = None
    """Of the kernel's out-of-memory killer, at the first sample."""
    read_files: ev.ReadFiles | None = None
    host_series: dict[str, Series] = field(default_factory=lambda: {name: Series() for name in SERIES})


def held_since(t: float, before: float | None) -> float:
    """From when on a sample at `t` speaks, where the one before it came at `before`."""
    return before if before is not None and t - SAMPLE_HOLDS_S < before <= t else t


def host_sample(machine: Machine, e: ev.HostSample, cpus: list[int] | None, steps: int | None) -> None:
    """`cpus`: those that the training may use; `steps`: training steps so far, None where none goes on."""
    since = held_since(e.t, machine.host.t if machine.host else None)
    machine.host = e
    pairs: tuple[tuple[str, float | None], ...] = (
        ("cpu", e.cpu_percent),
        ("tree_cpu", e.tree_cpu_percent),
        ("busiest_core", max(e.cores_percent, default=None)),
        ("rss", e.tree_rss_bytes),
        ("host_memory", e.memory_used_bytes),
        ("disk_read", e.disk_read_bps),
        ("file_read", e.file_read_bps),
        ("net_recv", e.net_recv_bps),
        ("throttled", e.throttled_percent),
        ("granted_cores", _granted_cores_percent(e, cpus)),
    )
    for name, value in pairs:
        if value is not None:
            machine.host_series[name].add_span(since, e.t, float(value))
    if machine.oom_kills_before is None:
        machine.oom_kills_before = e.oom_kills
    if e.tree_rss_bytes is not None:
        machine.rss_peak_bytes = max(machine.rss_peak_bytes or 0, e.tree_rss_bytes)
        if steps is not None:
            machine.rss_by_step.add(float(steps), float(e.tree_rss_bytes))
            if e.script_rss_bytes is not None:
                machine.children_by_step.add(float(steps), float(e.tree_rss_bytes - e.script_rss_bytes))


def _granted_cores_percent(e: ev.HostSample, cpus: list[int] | None) -> float | None:
    """How busy the cores are that the training may use, whoever uses them."""
    cores = [p for i, p in enumerate(e.cores_percent) if cpus is None or i in cpus]
    return sum(cores) / len(cores) if cores else None
