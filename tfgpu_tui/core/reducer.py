"""What each type of event changes in a run's state: one function an event type, and nothing else knows how (pure)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tfgpu_tui.core import events as ev
from tfgpu_tui.core.run_words import STOP_SIGNALS, end_words
from tfgpu_tui.core.series import Decimated, Series
from tfgpu_tui.core.totals import FitTimes, GpuView, Mark, PredictTimes, Retraced, StepTotals, Training

if TYPE_CHECKING:
    from tfgpu_tui.core.state import RunState

TRAININGS = 256
DIAGNOSTICS = 64
CHECKPOINT_S = 0.005
"""A callback that saves marks the time axis where it took at least this long: without a file to write it takes µs."""
RECENT_S = 15.0
SAMPLE_HOLDS_S = 5.0
"""A sample speaks for the time since the one before it, but never for longer than this."""


def _run_started(s: RunState, e: ev.RunStarted) -> None:
    s.run = e
    if e.knobs:
        s.marks.append(Mark(e.t, "knob", ", ".join(f"{name}={value}" for name, value in e.knobs.items())))


def _run_ended(s: RunState, e: ev.RunEnded) -> None:
    s.ended = e
    s._current = None
    s.marks.append(Mark(e.t, "end", end_words(e, s.stopped_early)))


def _child_started(s: RunState, e: ev.ChildStarted) -> None:
    s.child_pid = e.pid


def _agent_connected(s: RunState, e: ev.AgentConnected) -> None:
    if e.pid is not None and e.pid not in s.agent_pids:
        s.agent_pids.append(e.pid)


def _phase(s: RunState, e: ev.Phase) -> None:
    if e.phase == "evaluating" and s.phase != "evaluating":
        s.marks.append(Mark(e.t, "validation", "validation"))
    s.phase = e.phase
    s.exiting_t = e.t if e.phase == "exiting" else None
    s.ends_with = e.ends_with


def _environment(s: RunState, e: ev.Environment) -> None:
    known = {k: v for k, v in vars(e).items() if v is not None}
    s.environment = replace(s.environment, **known)
    for gpu in e.tf_gpus or ():
        view = s.gpus.get(str(gpu.get("uuid")))
        if view is not None:
            view.ours = True


def _knobs(s: RunState, e: ev.Knobs) -> None:
    """Each part of the agent tells of its own knobs."""
    before = s.knobs_in_force
    if before is not None:
        e = replace(e, in_force={**before.in_force, **e.in_force}, notes={**before.notes, **e.notes})
    s.knobs_in_force = e


def _model(s: RunState, e: ev.Model) -> None:
    s.model = e


def _dataset(s: RunState, e: ev.Dataset) -> None:
    if e.phase == "train" or s.dataset is None:
        s.dataset = e
        s.batch_size = e.batch_size if e.batch_size is not None else s.batch_size


def _steps(s: RunState, e: ev.Steps) -> None:
    s._current = None
    s.totals.setdefault(e.phase, StepTotals()).add(e)
    if not e.warmup:
        s.steady.setdefault(e.phase, StepTotals()).add(e)
    if e.phase != "train":
        return
    s.loop = e.loop
    s.fits = max(s.fits, e.fit)
    if e.fit:
        _training(s, e.pid, e.fit).traces += e.traces
    if s.first_wait_s is None and e.wait_s is not None and e.step_max_s is not None:
        s.first_wait_s = min(e.wait_s, e.step_max_s)
    s.batch_size = e.batch_size if e.batch_size is not None else s.batch_size
    if e.pid is not None:
        s.processes.add(e.pid)
    if e.steps:
        s.first_step_t = e.t - e.wall_s if s.first_step_t is None else s.first_step_t
        s.last_step_t = e.t
        for name, seconds in (("wait_ms", e.wait_s), ("compute_ms", e.compute_s), ("host_ms", e.host_s)):
            if seconds is not None:
                s.series[name].add_span(e.t - e.wall_s, e.t, seconds / e.steps * 1e3, e.steps)
    if not e.warmup and e.steps:
        s.window_ms.add(e.t, e.wall_s / e.steps * 1e3)
        s.recent.append(e)
        if e.step_max_s is not None and e.compute_s is not None:
            s.slowest_steps.append((e.step_max_s, e.compute_s))
        while s.recent and s.recent[0].t < e.t - RECENT_S:
            s.recent.popleft()
        if e.traces:
            s.marks.append(Mark(e.t, "retrace", f"retrace at step {e.first_step}"))
    _mark_checkpoints(s, e.t, e.callbacks)


def _epoch(s: RunState, e: ev.Epoch) -> None:
    if e.state == "begin":
        s.epoch, s.epochs, s.epoch_steps = e.epoch, e.epochs, e.steps
        s.first_wait_s = None
        s.epoch_first_step = s.train.steps
        s.edge_s += e.edge_s or 0.0
        s.marks.append(Mark(e.t, "epoch", f"epoch {e.epoch}"))
        return
    s.epochs_done += 1
    if e.first_wait_s is None:
        e = replace(e, first_wait_s=s.first_wait_s)
    s.validation_s += e.validation_s or 0.0
    _mark_checkpoints(s, e.t, e.callbacks)
    for name, seconds in e.callbacks.items():
        s.epoch_callbacks[name] = s.epoch_callbacks.get(name, 0.0) + seconds
    s.history.append(e)
    _learn_metrics(s, e.t, e.metrics)


def _mark_checkpoints(s: RunState, t: float, callbacks: dict[str, float]) -> None:
    """Keras' callbacks that save: those that took the time of a write, not only of a look at the epoch's number."""
    for name, seconds in callbacks.items():
        if ("Checkpoint" in name or name == "BackupAndRestore") and seconds >= CHECKPOINT_S:
            s.marks.append(Mark(t, "checkpoint", f"{name} {seconds:.2g} s"))


def _retrace(s: RunState, e: ev.Retrace) -> None:
    key = f"{e.file}:{e.line}:{e.function}"
    if key not in s.retraces and len(s.retraces) >= 100:
        return
    known = s.retraces.setdefault(key, Retraced(e))
    known.latest = e
    known.history.append((s.train.steps, s.train.wall_s, e.traces, e.seconds))


def _fit_calls(s: RunState, e: ev.FitCalls) -> None:
    s.last_call_t = e.t
    inside = s.train.wall_s + s.validation_s + sum(s.epoch_callbacks.values())
    if s.first_fit is None:
        s.first_fit = FitTimes(e.count, e.wall_s, inside, s.train.steps)
    first = s.first_fit
    s.fit_calls = FitTimes(
        e.count - first.calls, e.wall_s - first.wall_s, inside - first.inside_s, s.train.steps - first.steps
    )


def _predict_calls(s: RunState, e: ev.PredictCalls) -> None:
    s.last_call_t = e.t
    key = e.pid, e.method, e.in_fit
    known = s.predict_calls.get(key)
    if known is not None and s.first_step_t is not None:
        known.latest = e
    elif known is not None or len(s.predict_calls) < 64:
        s.predict_calls[key] = PredictTimes(e, e)


def _array_copy(s: RunState, e: ev.ArrayCopy) -> None:
    if len(s.array_copies) < 64:
        s.array_copies[e.device] = e


def _debug_switch(s: RunState, e: ev.DebugSwitch) -> None:
    s.debug_switches.pop(e.name, None)
    if e.on and len(s.debug_switches) < 16:
        s.debug_switches[e.name] = e.place


def _train_end(s: RunState, e: ev.TrainEnd) -> None:
    s.stopped_early = e.stopped or s.stopped_early


def _metrics(s: RunState, e: ev.Metrics) -> None:
    if e.phase == "train":
        _learn_metrics(s, e.t, e.values)


def _learn_metrics(s: RunState, t: float, values: dict[str, float | str]) -> None:
    s.metrics.update(values)
    for name, value in values.items():
        if isinstance(value, (int, float)):
            if name not in s.metric_series and len(s.metric_series) >= 32:
                continue
            s.metric_series.setdefault(name, Series()).add(t, float(value))


def _pipeline(s: RunState, e: ev.Pipeline) -> None:
    # A graph without times never replaces what was measured.
    if s.pipeline is None or e.source == "model_proto" or s.pipeline.source != "model_proto":
        s.pipeline_told = e
        s.pipeline = replace(e, user=_with_workers(s, e))


def _user_code(s: RunState, e: ev.UserCode) -> None:
    if e.pid in s.worker_code or len(s.worker_code) < 256:
        s.worker_code[e.pid] = e.user
    if s.pipeline is not None and s.pipeline_told is not None:
        s.pipeline = replace(s.pipeline, user=_with_workers(s, s.pipeline_told))


def _script_lines(s: RunState, e: ev.ScriptLines) -> None:
    if s.script_lines is None or e.pid == s.script_lines.pid or e.looks > s.script_lines.looks:
        s.script_lines = e


def _with_workers(s: RunState, e: ev.Pipeline) -> list[dict[str, Any]]:
    """The user's own Python of the training's process and of those that make batches for it, by function."""
    if not s.worker_code:
        return e.user
    merged: dict[tuple[Any, ...], dict[str, Any]] = {}
    told = [(u, u.get("calls") or 0, (u.get("mean_us") or 0.0) * (u.get("calls") or 0)) for u in e.user]
    workers = [u for of_process in s.worker_code.values() for u in of_process]
    told += [(u, u.get("calls") or 0, (u.get("seconds") or 0.0) * 1e6) for u in workers]
    for user, calls, us in told:
        key = tuple(user.get(name) for name in ("name", "kind", "file", "line"))
        entry = merged.setdefault(key, {"name": key[0], "kind": key[1], "calls": 0, "mean_us": None})
        whole = (entry["mean_us"] or 0.0) * entry["calls"] + us
        entry["calls"] += calls
        entry["mean_us"] = whole / entry["calls"] if entry["calls"] else None
        entry["file"], entry["line"] = key[2], key[3]
    return list(merged.values())


def _placement(s: RunState, e: ev.Placement) -> None:
    s.placement = e


def _layer_times(s: RunState, e: ev.LayerTimes) -> None:
    # A refusal never replaces what was measured.
    if s.layer_times is None or e.refused is None or s.layer_times.refused is not None:
        s.layer_times = e


def _tf_memory(s: RunState, e: ev.TfMemory) -> None:
    for device in e.devices:
        name = str(device.get("device"))
        before = s.tf_memory.get(name, {})
        peak = max(device.get("peak_bytes") or 0, before.get("peak_bytes") or 0) or None
        s.tf_memory[name] = {**before, **device, "peak_bytes": peak}
        if device.get("current_bytes") is not None:
            s.tf_memory_series.setdefault(name, Series()).add(e.t, float(device["current_bytes"]))


def _training(s: RunState, pid: int | None, fit: int) -> Training:
    key = pid, fit
    if key not in s.trainings:
        s.trainings[key] = Training(fit)
        if len(s.trainings) > TRAININGS:
            del s.trainings[next(iter(s.trainings))]
    return s.trainings[key]


def _process_memory(s: RunState, e: ev.ProcessMemory) -> None:
    if e.pid is None or (e.pid not in s.process_memory and len(s.process_memory) >= 16):
        return
    points = s.process_memory.setdefault(e.pid, Decimated())
    for step, size, *fit in e.points:
        points.add(float(step), float(size))
        if fit and fit[0]:
            _training(s, e.pid, fit[0]).memory.add(float(step), float(size))


def _growth_cause(s: RunState, e: ev.GrowthCause) -> None:
    s.growth_causes = [*s.growth_causes[-9:], e]


def _out_of_memory(s: RunState, e: ev.OutOfMemory) -> None:
    s.out_of_memory = e
    s.out_of_memory_count += 1
    s.marks.append(Mark(e.t, "out of memory", f"out of memory on {e.device or 'a device'}"))


def _held_since(t: float, before: float | None) -> float:
    return before if before is not None and t - SAMPLE_HOLDS_S < before <= t else t


def _granted_cores_percent(s: RunState, e: ev.HostSample) -> float | None:
    """How busy the cores are that the training may use, whoever uses them."""
    cpus = s.environment.cpus
    cores = [p for i, p in enumerate(e.cores_percent) if cpus is None or i in cpus]
    return sum(cores) / len(cores) if cores else None


def _host_sample(s: RunState, e: ev.HostSample) -> None:
    since = _held_since(e.t, s.host.t if s.host else None)
    s.host = e
    pairs: tuple[tuple[str, float | None], ...] = (
        ("cpu", e.cpu_percent),
        ("tree_cpu", e.tree_cpu_percent),
        ("busiest_core", max(e.cores_percent, default=None)),
        ("rss", e.tree_rss_bytes),
        ("host_memory", e.memory_used_bytes),
        ("disk_read", e.disk_read_bps),
        ("net_recv", e.net_recv_bps),
        ("throttled", e.throttled_percent),
        ("granted_cores", _granted_cores_percent(s, e)),
    )
    for name, value in pairs:
        if value is not None:
            s.series[name].add_span(since, e.t, float(value))
    if s.oom_kills_before is None:
        s.oom_kills_before = e.oom_kills
    if e.tree_rss_bytes is not None:
        s.rss_peak_bytes = max(s.rss_peak_bytes or 0, e.tree_rss_bytes)
        if s.judged.steps and s.phase == "training":
            s.rss_by_step.add(float(s.train.steps), float(e.tree_rss_bytes))


def _preflight(s: RunState, e: ev.Preflight) -> None:
    s.preflight = e


def _diagnostic(s: RunState, e: ev.Diagnostic) -> None:
    key = (e.id, *(f"{name}={value}" for name, value in sorted(e.values.items())))
    if key in s.diagnostics or len(s.diagnostics) < DIAGNOSTICS:
        s.diagnostics[key] = e


def _gpu_sample(s: RunState, e: ev.GpuSample) -> None:
    s.gpu_status = e
    if e.read_ms is not None:
        count, total, largest = s.gpu_read_ms
        s.gpu_read_ms = (count + 1, total + e.read_ms, max(largest, e.read_ms))
    ours = {str(g["uuid"]) for g in s.environment.tf_gpus or () if g.get("uuid")}
    for gpu in e.gpus:
        index = gpu.get("index")
        if not isinstance(index, int):
            continue
        key = str(gpu.get("uuid") or f"index {index}")
        view = s.gpus.setdefault(key, GpuView(index=index, uuid=gpu.get("uuid")))
        view.name = gpu.get("name") or view.name
        since = _held_since(e.t, view.seen)
        view.seen = e.t
        # Slow-tier fields (processes, …) come only now and then: what a sample leaves out keeps its last value.
        view.latest = {**view.latest, **gpu, "error": gpu.get("error")}
        view.lost = None if not gpu.get("error") else view.lost or (e.t, str(gpu["error"]))
        if gpu.get("throttle") is not None:
            view.samples += 1
            for reason in gpu["throttle"]:
                view.throttled[reason] = view.throttled.get(reason, 0) + 1
        parts = (gpu, *(gpu.get("slices") or ()))  # under MIG TensorFlow sees slices
        view.ours = (
            view.ours
            or any(str(part.get("uuid")) in ours for part in parts)
            or any(p.get("ours") for part in parts for p in part.get("processes") or ())
        )
        for series, value in ((view.busy, gpu.get("busy_percent")), (view.memory, gpu.get("memory_used_bytes")),
                              (view.power, gpu.get("power_w"))):  # fmt: skip
            if value is not None:
                series.add_span(since, e.t, float(value))


def _log(s: RunState, e: ev.Log) -> None:
    s.log_bytes, s.log_capped = e.size_bytes, e.capped


def _script_error(s: RunState, e: ev.ScriptError) -> None:
    if e.main:
        s.error = e
    elif len(s.child_errors) < 20:
        s.child_errors.append(e)


def _child_ended(s: RunState, e: ev.ChildEnded) -> None:
    if len(s.child_ends) < 50:
        s.child_ends.append(e)


def _hook_off(s: RunState, e: ev.HookOff) -> None:
    if len(s.hooks_off) < 64:
        s.hooks_off[e.hook] = e.reason


def _agent_cost(s: RunState, e: ev.AgentCost) -> None:
    s.agent_cost = e


def _dropped(s: RunState, e: ev.Dropped) -> None:
    s.dropped[f"{e.where} {e.pid}"] = e.count


def _fault(s: RunState, e: ev.Fault) -> None:
    s.faults.append(e)


def _standing(s: RunState, e: ev.Standing) -> None:
    s.standing = dict(e.since)


def _stopping(s: RunState, e: ev.Stopping) -> None:
    s.stopping = e
    if e.stage not in ("children", "kill children"):
        s.stop_stage = e.stage
        s.interpreter_signalled = s.exiting_t is not None and e.stage in STOP_SIGNALS
    s.stopped_early = s.stopped_early or e.reason


def _rerun(s: RunState, e: ev.Rerun) -> None:
    s.rerun = e
    if e.state == "taken_back" and s.stopped_early == "rerun":
        s.stopped_early = "user"  # what is left of it is a stop


HANDLERS: dict[type[ev.Event], Callable[[RunState, Any], None]] = {
    ev.RunStarted: _run_started,
    ev.RunEnded: _run_ended,
    ev.ChildStarted: _child_started,
    ev.AgentConnected: _agent_connected,
    ev.Phase: _phase,
    ev.Environment: _environment,
    ev.Knobs: _knobs,
    ev.Model: _model,
    ev.Dataset: _dataset,
    ev.Steps: _steps,
    ev.Epoch: _epoch,
    ev.TrainEnd: _train_end,
    ev.Retrace: _retrace,
    ev.FitCalls: _fit_calls,
    ev.PredictCalls: _predict_calls,
    ev.ArrayCopy: _array_copy,
    ev.DebugSwitch: _debug_switch,
    ev.Metrics: _metrics,
    ev.Pipeline: _pipeline,
    ev.UserCode: _user_code,
    ev.ScriptLines: _script_lines,
    ev.Placement: _placement,
    ev.LayerTimes: _layer_times,
    ev.TfMemory: _tf_memory,
    ev.ProcessMemory: _process_memory,
    ev.GrowthCause: _growth_cause,
    ev.OutOfMemory: _out_of_memory,
    ev.HostSample: _host_sample,
    ev.GpuSample: _gpu_sample,
    ev.Preflight: _preflight,
    ev.Diagnostic: _diagnostic,
    ev.Log: _log,
    ev.ScriptError: _script_error,
    ev.ChildEnded: _child_ended,
    ev.HookOff: _hook_off,
    ev.AgentCost: _agent_cost,
    ev.Dropped: _dropped,
    ev.Fault: _fault,
    ev.Stopping: _stopping,
    ev.Rerun: _rerun,
    ev.Standing: _standing,
}
