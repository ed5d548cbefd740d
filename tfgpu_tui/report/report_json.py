"""RunState -> report.json and its text (pure). The JSON is a contract: versioned, and only ever added to.

What was not measured is null; `unknown` at the top level maps such a field's path to the reason.
"""

from __future__ import annotations

import math
from datetime import datetime, timezone
from typing import Any

from tfgpu_tui.core import units
from tfgpu_tui.core.events import RunEnded
from tfgpu_tui.core.places import Places, of_run
from tfgpu_tui.core.rows import is_layer
from tfgpu_tui.core.run_words import LOST_WORDS, SERVES_WORDS, end_words, signal_name
from tfgpu_tui.core.state import STEADY_STEPS, RunState
from tfgpu_tui.diagnose import Finding, diagnose
from tfgpu_tui.diagnose.stages import stage_label, stage_shares
from tfgpu_tui.report import account as report_account
from tfgpu_tui.report import compute as report_compute
from tfgpu_tui.report import gpus
from tfgpu_tui.report import memory as report_memory
from tfgpu_tui.report import processes as report_processes
from tfgpu_tui.report import training as report_training
from tfgpu_tui.report.plain import finding_lines
from tfgpu_tui.terminal.lines import printable

SCHEMA = 1
UNKNOWN_WITHOUT_STEPS = ("training.step_ms", "phases", "pipeline", "placement")
WAIT_HOOKS = ("input_wait", "clock", "overlap", "custom_loop", "keras_")
"""Names of the agent's hooks without which the wait is not known begin so."""
TRACES_HOOK = "runtime.count_traces"


LIFE_WORDS = {
    "running": "still running",
    "lost": f"{LOST_WORDS}, and how it ended is not known: last heard of",
    "elsewhere": "whether it still runs can't be seen from here: last heard of",
    "unknown": "no end was recorded: last heard of",
}
"""What a run without an end may be."""


def build(state: RunState, life: str = "running", skipped: int = 0) -> dict[str, Any]:
    """report.json of this run, as a dictionary that `json.dumps(…, allow_nan=False)` takes. `life` is what is known of
    a run without an end (a key of LIFE_WORDS); `skipped` are the journal's lines that were no events."""
    built: dict[str, Any] = _finite({
        "schema": SCHEMA,
        "run": {**_run(state), "state": "ended" if state.ended else life},
        "environment": _environment(state),
        "training": _training(state),
        "processes": report_processes.processes(state),
        "account": report_account.account(state),
        "phases": report_processes.phases(state),
        "pipeline": _pipeline(state),
        "placement": _placement(state),
        "placement_basis": _placement_basis(state),
        "compute": report_compute.compute(state),
        "memory": report_memory.memory(state),
        "gpus": gpus.gpus(state),
        "cpu": _cpu(state),
        "findings": [
            finding_row(f) for f in diagnose(state)],
        "monitor": {
            "agent_us_per_step": _rounded(state.agent_cost.us_per_step if state.agent_cost else None),
            "agent_looks_ms": _rounded(state.agent_cost.looks_ms if state.agent_cost else None),
            "gpu_read_ms": gpus.read_cost(state),
            "dropped": sum(state.dropped.values()),
            "skipped": skipped,
            "hooks_off": [{"hook": k, "reason": v} for k, v in state.hooks_off.items()],
            "faults": [{"t": _iso(f.t), "part": f.part, "message": f.message} for f in state.faults],
        },
        "unknown": _unknown(state),
    })  # fmt: skip
    return built


def finding_row(finding: Finding) -> dict[str, Any]:
    """A finding as a report holds it."""
    names = ("id", "severity", "title", "evidence", "lines", "next", "knob", "incomplete")
    return {name: getattr(finding, name) for name in names}


def _finite(value: Any) -> Any:
    """What nonsense in a foreign journal makes infinite is not known."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value


def _iso(t: float | None) -> str | None:
    return None if t is None else datetime.fromtimestamp(t, timezone.utc).isoformat(timespec="milliseconds")


def _rounded(value: float | None, digits: int = 3) -> float | None:
    return None if value is None else round(value, digits)


def _mib(value: float | None) -> float | None:
    return None if value is None else round(value / 2**20, 1)


def _run(state: RunState) -> dict[str, Any]:
    run, ended = state.run, state.ended
    return {
        "id": run.id if run else None,
        "argv": run.argv if run else None,
        "cwd": run.cwd if run else None,
        "host": (run.host or None) if run else None,
        "exit_code": ended.exit_code if ended else None,
        "signal": ended.signal if ended else None,
        "core_dumped": ended.core_dumped if ended else None,
        "started": _iso(run.t if run else None),
        "ended": _iso(ended.t if ended else None),
        "wall_s": _rounded(ended.wall_s if ended else state.wall_s),
        "knobs": dict(run.knobs) if run else {},
        "knobs_in_force": dict(state.knobs_in_force.in_force) if state.knobs_in_force else {},
        "knob_notes": dict(state.knobs_in_force.notes) if state.knobs_in_force else {},
        "knobs_of_script": dict(state.knobs_in_force.script) if state.knobs_in_force else {},
        "parent": run.parent if run else None,
        "simulated": run.simulated if run else None,
        "stopped_early": state.stopped_early,
        "stopped": _stopped(ended),
    }


def _stopped(ended: RunEnded | None) -> dict[str, Any] | None:
    if ended is None or ended.stopped is None:
        return None
    return {
        "reason": ended.stopped,
        "steps": ended.steps,
        "words": end_words(ended),
        "closed_by": ended.closed_by,
    }


def _environment(state: RunState) -> dict[str, Any]:
    env = state.environment
    return {
        "python": env.python,
        "tensorflow": env.tensorflow,
        "tensorflow_build": env.tensorflow_build,
        "keras": env.keras,
        "keras_flavour": env.keras_flavour,
        "backend": env.backend,
        "gpus": gpus.tensorflow_gpus(state),
        "diagnostics": gpus.messages(state),
        "nvidia_devices": env.nvidia_devices,
        "driver": env.driver,
        "cpu_count": env.cpu_count,
        "cpu_quota": env.cpu_quota,
        "cpu_model": env.cpu_model,
        "cpu_half": env.cpu_half,
        "host": env.host,
        "visible_devices": env.visible_devices,
    }


def _training(state: RunState) -> dict[str, Any]:
    train, judged = state.train, state.judged
    timed = judged if judged.steps else train
    return {
        "processes": len(state.training.pids),
        "describes": report_processes.describes(state),
        "steps": train.steps,
        "executions": train.executions,
        "judged_steps": judged.steps,
        "epochs": state.epochs_done,
        "fits": state.fits,
        "batch_size": state.batch_size,
        "step_ms": report_processes.step_ms(timed),
        "examples_per_s": _rounded(state.examples_per_s(timed), 1),
        "loop": state.loop,
        "traces": None if TRACES_HOOK in state.hooks_off else train.traces,
        "evaluate_steps": state.totals["test"].steps if "test" in state.totals else 0,
        "predict_steps": state.totals["predict"].steps if "predict" in state.totals else 0,
        "epoch_edges_s": _rounded(state.edge_s),
        "validation_s": _rounded(state.validation_s),
        "metrics": dict(state.metrics),
        **report_training.host_work(state),
        "model": {k: v for k, v in vars(state.model).items() if k not in ("t", "src", "pid")} if state.model else None,
        "dataset": {k: v for k, v in vars(state.dataset).items() if k not in ("t", "src", "pid")}
        if state.dataset
        else None,
    }


def _pipeline(state: RunState) -> list[dict[str, Any]]:
    stages = state.pipeline.stages if state.pipeline else []
    return [
        {
            "stage": s.get("stage"),
            "name": s.get("name"),
            "self_ms": _ms_from_us(s.get("self_us")),
            "per_batch_ms": _ms_from_us(s.get("per_batch_us")),
            "parallelism": s.get("parallelism"),
            "autotuned": s.get("autotuned"),
            "buffered": s.get("buffered"),
            "buffer_size": s.get("buffer_size"),
            "share": _rounded(share, 4),
            "function": s.get("function"),
            "file": s.get("file"),
            "line": s.get("line"),
            "python": s.get("python"),
            "reads": s.get("reads"),
        }
        for s, share in zip(stages, stage_shares(stages), strict=True)
    ]


def _ms_from_us(value: Any) -> float | None:
    return round(float(value) / 1e3, 4) if isinstance(value, (int, float)) else None


def _placement(state: RunState) -> list[dict[str, Any]]:
    keys = (
        "layer",
        "class",
        "depth",
        "forward",
        "backward",
        "variables",
        "parameters",
        "dtype",
        "xla",
        "policy",
        "asked",
        "reason",
        "calls",
        "not_on_gpu",
        "predicted",
        "copies",
        "variable_copies",
        "float64_ops",
        "recurrent",
    )
    rows = state.placement.layers if state.placement else []
    nothing = {"not_on_gpu": [], "copies": {}, "variable_copies": 0, "float64_ops": 0} if _knows_kernels(state) else {}
    return [{**{k: row.get(k, nothing.get(k)) for k in keys}, "ms": state.layer_ms(row)} for row in rows]


def _compiled_whole(state: RunState) -> bool:
    """Whether XLA compiles each layer of which an operation was found, and none has a time."""
    rows = state.placement.layers if state.placement else []
    ran = [row for row in rows if is_layer(row) and (row.get("forward") or row.get("backward"))]
    timed = state.layer_times is not None and state.layer_times.layers
    return bool(ran) and all(row.get("xla") for row in ran) and not timed


def _placement_basis(state: RunState) -> dict[str, Any] | None:
    """Where the rows come from, and the totals of a profile."""
    placement, times = state.placement, state.layer_times
    if placement is None:
        return None
    profiled = times if times is not None and times.refused is None and times.source == "profiler" else None
    return {
        "source": placement.source,
        "ops": placement.ops,
        "unattributed": placement.unattributed,
        "predicted": placement.predicted,
        "kernels": placement.kernels,
        "profiled_steps": profiled.steps if profiled else None,
        "profiled_ms": {k: round(v, 4) for k, v in profiled.devices.items()} if profiled else None,
        "unattributed_ms": _rounded(profiled.unattributed_ms, 4) if profiled else None,
    }


def _knows_kernels(state: RunState) -> bool:
    """Whether the rows come from an agent that looks at kernels and copies; older journals have neither."""
    return state.placement is not None and state.placement.predicted is not None


def _cpu(state: RunState) -> dict[str, Any]:
    return {
        "mean_percent": _rounded(state.series["cpu"].mean(), 1),
        "process_tree_mean_percent": _rounded(state.series["tree_cpu"].mean(), 1),
        "busiest_core_percent": _rounded(state.series["busiest_core"].mean(), 1),
    }


def _unknown(state: RunState) -> dict[str, str]:
    """Why fields are null or empty: path -> reason in words."""
    out = _unknown_times(state) if state.train.steps else _no_steps(state)
    out |= report_memory.unknown(state)
    if report_account.account(state) is None:
        out["account"] = "nothing of the run was told yet, or a part of it was summed by an older version"
    out |= gpus.unknown(state)
    return out


def _no_steps(state: RunState) -> dict[str, str]:
    if state.serves:
        return dict.fromkeys(UNKNOWN_WITHOUT_STEPS, f"the process {SERVES_WORDS}")
    reason = next((f.lines[0] for f in diagnose(state) if f.id == "run.no_steps"), "no training step was seen (yet)")
    return dict.fromkeys(UNKNOWN_WITHOUT_STEPS, reason)


def _unknown_times(state: RunState) -> dict[str, str]:
    out: dict[str, str] = {}
    judged = state.judged
    if not judged.steps:
        out["phases"] = "only warm-up steps were seen: the shares include tracing and compiling"
    if judged.steps < STEADY_STEPS:
        out["findings"] = f"only {judged.steps} steps after warm-up; nothing is judged under {STEADY_STEPS}"
    if judged.wait_bound:
        out["phases.input_wait"] = f"an upper bound: {judged.wait_bound}"
    if state.train.wait_s is None:
        off = [f"{hook}: {reason}" for hook, reason in state.hooks_off.items() if hook.startswith(WAIT_HOOKS)]
        out["phases.input_wait"] = state.train.wait_bound or "; ".join(off) or "the hook that measures it is off"
    if TRACES_HOOK in state.hooks_off:
        out["training.traces"] = f"{TRACES_HOOK}: {state.hooks_off[TRACES_HOOK]}"
    if state.pipeline is None:
        out["pipeline"] = "no tf.data iterator fed the training"
    elif state.pipeline.note:
        out["pipeline"] = state.pipeline.note
    if state.placement is None:
        reasons = [reason for hook, reason in state.hooks_off.items() if "placement" in hook]
        out["placement"] = "; ".join(reasons) or "no graph of a training step was collected"
    elif _compiled_whole(state):
        out["placement.ms"] = "XLA compiles all layers into one program: its time is not known by layer"
    elif state.layer_times is None:
        out["placement.ms"] = "not asked for: --set profile=5 measures the time per layer"
    elif state.layer_times.refused is not None:
        out["placement.ms"] = state.layer_times.refused
    elif state.layer_times.source == "looks":
        out["placement.ms"] = state.layer_times.note or "the step runs op by op"
    why_not = report_compute.why_not(state)
    if why_not is not None:
        out["compute"] = why_not
    if state.placement is not None and state.placement.kernels is None:
        out["placement.not_on_gpu"] = "which ops have a GPU kernel is not known for this TensorFlow"
    out |= report_training.unknown(state)
    if state.train.examples is None and state.batch_size is None:
        out["training.examples_per_s"] = "the batch size could not be read"
    return out


def text(report: dict[str, Any]) -> str:
    """The report for a person: verdicts first, then where the time went."""
    run, training, phases = report["run"], report["training"], report["phases"]
    out = [f"tfgpu-tui report  {' '.join(run['argv'] or [])}  ({run['id']})"]
    if run["simulated"]:
        out.append(f"  {run['simulated']}")
    out.append(f"  {_ending(run)} {'after' if run['stopped'] is None else 'in'} {units.duration(run['wall_s'])}")
    out += [f"  {line}" for line in report_processes.text(report)]
    if training["steps"]:
        step = training["step_ms"]
        out.append(
            f"  {steps_words(training)}{_epochs(training)}, "
            f"{units.duration(_s(step['mean']))} each (median {units.duration(_s(step['p50']))}, "
            f"95 % under {units.duration(_s(step['p95']))}), {units.number(training['examples_per_s'])} examples/s"
        )
        out.append(
            f"  input wait {units.share(phases['input_wait'])}   compute {units.share(phases['compute'])}   "
            f"host {units.share(phases['host'])}   of step time after warm-up"
        )
    out += [f"  {line}" for line in report_account.text(report["account"])]
    cpu, memory = report["cpu"], report["memory"]
    out.append(
        f"  CPU {units.percent(cpu['process_tree_mean_percent'])} (100 % is one core)   "
        f"host memory at its highest {units.size(_bytes(memory['host_peak_mib']))}"
    )
    for gpu in report["gpus"]:
        out.append(
            f"  GPU {gpu['index']} {gpu['name'] or ''}: {_busy(gpu)}, "
            f"memory at its highest {units.size(_bytes(gpu['memory_used_peak_mib']))}"
            f"{'' if gpu['ours'] else ' (not used by this run)'}"
            f"{'; ' + gpu['error'] if gpu['error'] else ''}"
        )
    if report["monitor"]["skipped"]:
        out.append(f"  {report['monitor']['skipped']} lines of the journal were left out: they are no events that this "
                   "version knows")  # fmt: skip
    out += _pipeline_lines(report["pipeline"], of_run(run["cwd"], run["argv"] or ()))
    out += _placement_lines(report["placement"])
    out.append("")
    out += _finding_text(report)
    return "\n".join(printable(line) for line in out)


def steps_words(training: dict[str, Any]) -> str:
    """`600 steps`; `1 call of fit_all, which holds 30 updates of the weights`, where calls are what can be counted."""
    count, loops = training["steps"], training["unrolled_loops"] if training["loop"] == "custom" else []
    held = max(loops, key=lambda loop: loop["updates"] or 0, default=None)
    if held is not None and (held["updates"] or 0) > 1:
        return (
            f"{count} call{'' if count == 1 else 's'} of {held['function']}, {held['updates']} updates of weights each"
        )
    return f"{count} step{'' if count == 1 else 's'}"


def _epochs(training: dict[str, Any]) -> str:
    """` in 3 epochs (fit)`; of a loop of the script's own no epoch is known."""
    count, loop = training["epochs"], training["loop"]
    return f" in {count} epoch{'' if count == 1 else 's'} ({loop})" if count or loop == "fit" else f" ({loop} loop)"


def _busy(gpu: dict[str, Any]) -> str:
    """`busy 66 % while it trained`: the run's imports are no part of it, where there were steps."""
    if gpu["busy_training_mean"] is None:
        return f"busy {units.percent(gpu['busy_mean'])}"
    return f"busy {units.percent(gpu['busy_training_mean'])} while it trained"


def _s(ms: float | None) -> float | None:
    return None if ms is None else ms / 1e3


def _bytes(mib: float | None) -> float | None:
    return None if mib is None else mib * 2**20


def _ending(run: dict[str, Any]) -> str:
    if run["stopped"] is not None:
        return str(run["stopped"]["words"]) + _closed(run)
    if run["signal"] is not None:
        return f"ended by signal {run['signal']}" + (" (core dumped)" if run["core_dumped"] else "")
    if run["exit_code"] is None and run["ended"] is not None:
        return "ended; its exit status is not known"
    if run["exit_code"] is None:
        return LIFE_WORDS[run["state"]]
    return "finished" if run["exit_code"] == 0 else f"failed with exit code {run['exit_code']}"


def _closed(run: dict[str, Any]) -> str:
    """What is to be said where we ended the interpreter of a script that was over."""
    number = run["stopped"]["closed_by"]
    if number is None:
        return ""
    unknown = run["exit_code"] is None and run["signal"] is None
    status = "; what it would have exited with is not known" if unknown else ""
    return f" (its interpreter did not close, and was ended by {signal_name(number)}{status})"


def _pipeline_lines(stages: list[dict[str, Any]], where: Places) -> list[str]:
    timed = sorted((s for s in stages if s["per_batch_ms"]), key=lambda s: -s["per_batch_ms"])[:3]
    if not timed:
        return []
    shown = ", ".join(f"{_label(s, where)} {units.duration(_s(s['per_batch_ms']))} a batch" for s in timed)
    return [f"  pipeline  {shown}"]


def _label(stage: dict[str, Any], where: Places) -> str:
    return stage_label(
        {"stage": stage["stage"], "name": stage["name"], "file": stage["file"], "line": stage["line"]}, where
    )


def _placement_lines(rows: list[dict[str, Any]]) -> list[str]:
    devices: dict[str, int] = {}
    for row in rows:
        for device, ops in [*(row["forward"] or {}).items(), *(row["backward"] or {}).items()]:
            devices[device] = devices.get(device, 0) + ops
    if not devices:
        return []
    layers = sum(not str(row["layer"]).startswith("(") for row in rows)
    shown = ", ".join(f"{n} ops on {d}" for d, n in sorted(devices.items()))
    return [f"  placement {layers} layer{'' if layers == 1 else 's'}: {shown}"]


def _finding_text(report: dict[str, Any]) -> list[str]:
    names = ("id", "severity", "title", "evidence", "lines", "next", "knob", "incomplete")
    out: list[str] = []
    for data in report["findings"]:
        out += finding_lines(Finding(**{k: data[k] for k in names}))
    if not out:
        reason = report["unknown"].get("findings")
        out.append(f"  Nothing to judge: {reason}." if reason else "  No finding: nothing measured here stands out.")
    return out
