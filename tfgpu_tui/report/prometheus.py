"""Runs as Prometheus metrics: what `tfgpu-tui exporter` and `--metrics` show, with the format's own library.

Names and units follow Prometheus' rules (base units, counters end in `_total`). What is not measured is absent,
never 0. The GPU's hardware is left to its own exporters (DCGM, nvitop), joined by `gpu_uuid`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

from tfgpu_tui.core.events import histogram_value_s
from tfgpu_tui.core.gpu_mapping import mapping
from tfgpu_tui.core.parts.process import Process
from tfgpu_tui.core.state import RunState
from tfgpu_tui.core.totals import StepTotals
from tfgpu_tui.diagnose import diagnose
from tfgpu_tui.report import extras

MISSING = "metrics are written with Prometheus' own library, which is not installed beside tfgpu-tui: " + extras.how(
    "prometheus-client"
)
BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the histogram of step times, the same for every run: they can be summed over runs."""
OF_RUN, OF_PROCESS = ("run",), ("run", "rank")
"""Labels. `rank` is `worker-1` where the job is known, the process' pid where several train, else empty."""


class PrometheusMissing(Exception):
    """The library is not there; the text says what to do."""


def library() -> ModuleType:
    """prometheus_client. Raises PrometheusMissing."""
    try:
        return importlib.import_module("prometheus_client")
    except ImportError as error:
        raise PrometheusMissing(MISSING) from error


class Families:
    """The metrics of some runs, each family once, as a scrape has to tell them."""

    def __init__(self) -> None:
        self._core = importlib.import_module("prometheus_client.core")
        self._found: dict[str, Any] = {}

    def add(self, state: RunState) -> None:
        """One more run; nothing of one that has not begun."""
        if state.run is None:
            return
        _of_run(self, state, state.run.id)
        training = state.training.training()
        for process in training:
            _of_process(self, process, [state.run.id, _rank(process, len(training))])

    def gauge(self, name: str, about: str, names: tuple[str, ...], labels: list[str], value: float | None) -> None:
        """A value of now; none where it is not known."""
        if value is not None:
            self._family("GaugeMetricFamily", name, about, names).add_metric(labels, value)

    def counter(self, name: str, about: str, names: tuple[str, ...], labels: list[str], value: float | None) -> None:
        """A sum since the run's begin; none where it is not known."""
        if value is not None:
            self._family("CounterMetricFamily", name, about, names).add_metric(labels, value)

    def histogram(
        self,
        name: str,
        about: str,
        names: tuple[str, ...],
        labels: list[str],
        buckets: list[tuple[str, float]],
        total: float,
    ) -> None:
        """`buckets` are (upper bound, count up to it); `total` is the sum of all values."""
        self._family("HistogramMetricFamily", name, about, names).add_metric(labels, buckets, total)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._found.values())

    def _family(self, kind: str, name: str, about: str, names: tuple[str, ...]) -> Any:
        if name not in self._found:
            self._found[name] = getattr(self._core, kind)(f"tfgpu_tui_{name}", about, labels=names)
        return self._found[name]


def families(states: Iterable[RunState]) -> Families:
    """All metrics of these runs. Raises PrometheusMissing."""
    library()
    found = Families()
    for state in states:
        found.add(state)
    return found


def _rank(process: Process, count: int) -> str:
    if process.job is not None:
        return f"{process.job.task}-{process.job.index}"
    if process.member is not None and process.member.rank is not None:
        return str(process.member.rank)
    return str(process.pid) if count > 1 else ""


def _of_run(out: Families, state: RunState, run: str) -> None:
    about = state.environment
    info = {
        "script": " ".join(state.run.argv[:1]) if state.run else "",
        "mode": state.run.mode if state.run else "",
        "tensorflow": about.tensorflow or "",
        "keras": about.keras or "",
    }
    out.gauge("run_info", "What a run is, as labels.", (*OF_RUN, *info), [run, *info.values()], 1)
    out.gauge("run_started_timestamp_seconds", "When the run began.", OF_RUN, [run], state.started)
    if state.ended is not None:
        code = state.ended.exit_code if state.ended.exit_code is not None else 128 + (state.ended.signal or 0)
        out.gauge("run_ended_timestamp_seconds", "When the run ended.", OF_RUN, [run], state.ended.t)
        out.gauge("run_exit_status", "Exit status, or 128 and the signal.", OF_RUN, [run], code)
    host = state.host
    if host is not None:
        cores = None if host.tree_cpu_percent is None else host.tree_cpu_percent / 100
        out.gauge("cpu_cores", "Cores in use by the script and its children.", OF_RUN, [run], cores)
        out.gauge("host_memory_bytes", "Resident memory of the script and its children.", OF_RUN, [run],
                  host.tree_rss_bytes)  # fmt: skip
    for finding in diagnose(state):
        out.gauge("finding", "1 while a finding stands.", (*OF_RUN, "id", "severity"),
                  [run, finding.id, finding.severity], 1)  # fmt: skip
    uuids = {mapped.device: mapped.uuid or "" for mapped in mapping(state)}
    for device, memory in state.together().tf_memory.items():
        for kind, size in (("current", memory.get("current_bytes")), ("peak", memory.get("peak_bytes")),
                           ("limit", memory.get("limit_bytes"))):  # fmt: skip
            out.gauge("allocator_bytes", "TensorFlow's allocator on a device.", (*OF_RUN, "device", "gpu_uuid", "kind"),
                      [run, device, uuids.get(device, ""), kind], size)  # fmt: skip
    out.counter("events_dropped", "Messages that the monitor lost.", OF_RUN, [run], sum(state.dropped.values()))


def _of_process(out: Families, process: Process, labels: list[str]) -> None:
    for phase, totals in process.steps.totals.items():
        out.counter("steps", "Batches done, by phase.", (*OF_PROCESS, "phase"), [*labels, phase], totals.steps)
    train = process.steps.train
    parts = {"input_wait": train.wait_s, "compute": train.compute_s, "host": train.host_s}
    for part, seconds in parts.items():
        out.counter("step_seconds", "Wall time of training steps, by what it went to.", (*OF_PROCESS, "part"),
                    [*labels, part], seconds)  # fmt: skip
    known = train.examples if train.sized_s >= 0.99 * train.wall_s else None  # a sum over all steps, or none
    out.counter("examples", "Examples through the optimizer.", OF_PROCESS, labels, known)
    if train.periods:
        out.histogram(
            "step_duration_seconds", "Wall time of a training step.", OF_PROCESS, labels, _buckets(train), train.wall_s
        )
    out.gauge("last_step_timestamp_seconds", "When the newest training step was done.", OF_PROCESS, labels,
              process.steps.last_step_t)  # fmt: skip
    out.gauge("epoch", "The epoch that runs, from 1.", OF_PROCESS, labels, process.epochs.epoch)


def _buckets(totals: StepTotals) -> list[tuple[str, float]]:
    """Steps up to each bound, and all of them; right within 4.5 %, as the histogram that they come from."""
    counts = [(histogram_value_s(bucket), count) for bucket, count in totals.periods.items()]
    found = [(str(bound), float(sum(n for seconds, n in counts if seconds <= bound))) for bound in BOUNDS_S]
    return [*found, ("+Inf", float(sum(n for _, n in counts)))]
