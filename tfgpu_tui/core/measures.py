"""Every series of a run with its name and unit: what CSV, HTML and TensorBoard get (pure)."""

from __future__ import annotations

import csv
import io

from tfgpu_tui.core.quick import dataclass
from tfgpu_tui.core.series import Series
from tfgpu_tui.core.state import RunState


@dataclass(frozen=True)
class Measure:
    """One series. `name` is stable and has no blanks: `step/input_wait`, `gpu/0/busy`, `metric/loss`."""

    name: str
    label: str
    unit: str
    """`ms`, `%`, `bytes`, `W`, or empty for a metric of the script's own."""
    series: Series

    @property
    def group(self) -> str:
        """`step`, `cpu`, `memory`, `gpu` or `metric`."""
        return self.name.split("/", 1)[0]


_FIXED = (
    ("wait_ms", "step/input_wait", "input wait a step", "ms"),
    ("compute_ms", "step/compute", "compute a step", "ms"),
    ("host_ms", "step/host", "host a step", "ms"),
    ("tree_cpu", "cpu/training", "CPU of the training (100 % is one core)", "%"),
    ("cpu", "cpu/machine", "CPU of the machine", "%"),
    ("busiest_core", "cpu/busiest_core", "busiest core", "%"),
    ("rss", "memory/host", "host memory of the training", "bytes"),
    ("host_memory", "memory/machine", "host memory in use", "bytes"),
)


def measures(state: RunState) -> list[Measure]:
    """All series that hold anything, in a fixed order."""
    out = [Measure(name, label, unit, state.series[key]) for key, name, label, unit in _FIXED if key in state.series]
    for gpu in sorted(state.gpus.values(), key=lambda g: g.index):
        out += [
            Measure(f"gpu/{gpu.index}/busy", f"GPU {gpu.index} busy", "%", gpu.busy),
            Measure(f"gpu/{gpu.index}/memory", f"GPU {gpu.index} memory in use by everyone", "bytes", gpu.memory),
            Measure(f"gpu/{gpu.index}/power", f"GPU {gpu.index} power", "W", gpu.power),
        ]
    for device, series in sorted(state.tf_memory_series.items()):
        out.append(Measure(f"memory/{device}", f"{device} in use by tensors", "bytes", series))
    out += [Measure(f"metric/{name}", name, "", series) for name, series in state.metric_series.items()]
    return [m for m in out if len(m.series)]


def csv_text(state: RunState) -> str:
    """One row a point of every series: name, unit, unix time, seconds since the run began, mean of the bucket."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("name", "unit", "unix_time", "seconds", "value"))
    for measure in measures(state):
        for t, value in measure.series.rows():
            seconds = f"{t - state.started:.3f}" if state.started is not None else ""
            writer.writerow((measure.name, measure.unit, f"{t:.3f}", seconds, f"{value:.9g}"))
    return out.getvalue()
