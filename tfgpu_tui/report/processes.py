"""report.json's section `processes`, and which of them the other sections describe (pure)."""

from __future__ import annotations

from typing import Any

from tfgpu_tui.core import units
from tfgpu_tui.core.parts.process import Process
from tfgpu_tui.core.parts.processes import LIMIT
from tfgpu_tui.core.rows import Stage
from tfgpu_tui.core.state import RunState
from tfgpu_tui.core.totals import StepTotals
from tfgpu_tui.diagnose.host_growth import training_growth
from tfgpu_tui.report import account

MEMBER = ("job", "rank", "world_size", "local_rank", "role", "launcher", "source", "synchronous", "restarts")
"""Of the event `member`."""
SHOWN = 8
"""Processes of which the text has a line."""


def processes(state: RunState) -> list[dict[str, Any]]:
    """One entry for each process that trained; those beyond the limit are one, whose `pid` is null."""
    return [_process(state, process) for process in state.training.training()]


def _process(state: RunState, process: Process) -> dict[str, Any]:
    own, job = state.of(process), process.job
    timed = own.judged if own.judged.steps else own.train
    return {
        "pid": process.pid,
        "main": None if process.pid is None else process.pid == state.child_pid,
        "job": None if job is None else {"task": job.task, "index": job.index, "workers": job.workers},
        "member": None if process.member is None else {name: getattr(process.member, name) for name in MEMBER},
        "loop": own.loop,
        "steps": own.train.steps,
        "executions": own.train.executions,
        "judged_steps": own.judged.steps,
        "epochs": own.epochs_done,
        "fits": own.fits,
        "batch_size": own.batch_size,
        "step_ms": step_ms(timed),
        "phases": phases(own),
        "pipeline": None if own.pipeline is None else [_stage(stage) for stage in own.pipeline.stages],
        "model": own.model.name if own.model else None,
        "layers_placed": len(own.placement.layers) if own.placement else None,
        "knobs_in_force": dict(own.knobs_in_force.in_force) if own.knobs_in_force else {},
        "account": account.of_process(state, process),
        "metrics": dict(own.metrics),
        "memory": _memory(own, process),
        "agent_us_per_step": own.agent_cost.us_per_step if own.agent_cost else None,
    }


def _stage(stage: Stage) -> dict[str, Any]:
    per_batch_us = stage.get("per_batch_us")
    return {"name": stage.get("name"), "per_batch_ms": None if per_batch_us is None else round(per_batch_us / 1e3, 4)}


def _memory(own: RunState, process: Process) -> dict[str, Any]:
    sizes = [size for samples in own.process_memory.values() for _, size in samples.points]
    growth = training_growth(own) if process.memory.process_memory else None
    return {
        "resident_peak_mib": round(max(sizes) / 2**20, 1) if sizes else None,
        "growth_kib_per_step": None if growth is None else round(growth.bytes_per_step / 1024, 2),
        "growing": None if growth is None else growth.growing,
        "gpu": [
            {
                "device": device,
                "tf_current_mib": _mib(told.get("current_bytes")),
                "tf_peak_mib": _mib(told.get("peak_bytes")),
            }
            for device, told in own.tf_memory.items()
        ],
    }


def describes(state: RunState) -> dict[str, Any]:
    """What the numbers of the other sections are: `what` is process | slowest | sum."""
    manner = state.training.manner
    pid = state.described.pid if manner.kind != "apart" else None
    what = {"one": "process", "synchronous": "slowest", "apart": "sum"}[manner.kind]
    return {"what": what, "pid": pid, "why": manner.why or None}


def step_ms(timed: StepTotals) -> dict[str, float | None]:
    """Milliseconds a step."""
    return {
        "mean": _ms(timed.mean_s),
        "p50": _ms(timed.percentile_s(0.5)),
        "p95": _ms(timed.percentile_s(0.95)),
        "min": _ms(timed.step_min_s),
        "max": _ms(timed.step_max_s),
    }


def phases(state: RunState) -> dict[str, Any]:
    """Shares of step time after warm-up; rounded so that they still sum to exactly 1."""
    timed = state.judged if state.judged.steps else state.train
    shares = timed.shares()
    if any(v is None for v in shares.values()):
        return dict(shares)
    wait, host = round(shares["input_wait"] or 0.0, 6), round(shares["host"] or 0.0, 6)
    return {"input_wait": wait, "compute": round(1.0 - wait - host, 6), "host": host}


def text(report: dict[str, Any]) -> list[str]:
    """Lines on the processes of a report, where there are several."""
    each, told = report["processes"], report["training"]["describes"]
    if len(each) < 2:
        return []
    in_step = told["what"] == "slowest"
    out = [
        f"{len(each)} processes train in step: {told['why']}; the numbers are those of the slowest, {told['pid']}"
        if in_step
        else f"{len(each)} processes train apart: {told['why']}; the numbers are their sum"
    ]
    for process in each[:SHOWN]:
        shares = process["phases"]
        mean = process["step_ms"]["mean"]
        out.append(
            f"  {_name(process)}: {process['steps']} steps, {units.duration(None if mean is None else mean / 1e3)} a "
            f"step, input wait {units.share(shares['input_wait'])}"
        )
    if len(each) > SHOWN:
        out.append(f"  and {len(each) - SHOWN} more")
    return out


def _name(process: dict[str, Any]) -> str:
    if process["pid"] is None:
        return f"processes beyond the first {LIMIT}, summed"
    job = process["job"]
    return f"process {process['pid']}" + (f" ({job['task']} {job['index']})" if job else "")


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1e3, 4)


def _mib(value: float | None) -> float | None:
    return None if value is None else round(value / 2**20, 1)
