"""Journals of whole runs, made from events: what the screen's tests and its benchmark draw."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tfgpu_tui.core import events as ev
from tfgpu_tui.core.rows import Gpu, Layer, MemoryDevice, Stage, TensorflowGpu
from tfgpu_tui.runs.rundir import JournalWriter, RunDir

GIB = 2**30
START = 1_800_000_000.0
UUID = "GPU-6f1c0d3e-0000-4000-8000-0123456789ab"
STAGES = (
    ("TFRecordDataset", "TFRecord", 200.0, None, None, None, None),
    ("ShuffleDatasetV3", "Shuffle", 20.0, None, 1000, 1000, None),
    ("Map", "Map load_image", 600.0, 1, None, None, "data.py"),
    ("BatchDatasetV2", "Batch", 400.0, 1, None, None, None),
    ("PrefetchDataset", "Prefetch", 3.0, None, 0, 2, None),
)


@dataclass(frozen=True)
class Script:
    """What a made-up run looks like."""

    run_id: str = "train-20261121-004312"
    gpu: bool = True
    step_ms: float = 31.8
    wait: float = 0.61
    knobs: tuple[tuple[str, str], ...] = ()
    parent: str | None = None
    steps_per_epoch: int = 200
    epochs: int = 10
    start: float = START
    layer: str = "conv2d"
    metric: str = "loss"


def opening(script: Script) -> list[ev.Event]:
    """Up to the first step: the run, the machine, the model."""
    t = script.start
    return [
        ev.RunStarted(t=t, src="child", id=script.run_id, argv=["train.py", "--epochs", "10"], cwd="/home/u/mnist",
                      python="/usr/bin/python3", knobs=dict(script.knobs), parent=script.parent),
        ev.Environment(t=t, src="host", host="box", cpu_count=4, memory_total_bytes=16 * GIB,
                       nvidia_devices=1 if script.gpu else 0),
        ev.ChildStarted(t=t + 0.02, src="child", pid=4711),
        ev.GpuSample(t=t + 0.05, src="gpu", status="ok" if script.gpu else "no_library"),
        ev.AgentConnected(t=t + 0.1, src="agent", pid=4711),
        ev.Phase(t=t + 0.1, src="agent", pid=4711, phase="importing"),
    ]  # fmt: skip


def first_steps(script: Script) -> list[ev.Event]:
    """What is known once the model runs."""
    t = script.start + 3.0
    gpus: list[TensorflowGpu] = (
        [{"device": "GPU:0", "name": "NVIDIA T4", "uuid": UUID, "pci": "0000:00:04.0"}] if script.gpu else []
    )
    device = "GPU:0" if script.gpu else "CPU:0"
    names = [(script.layer, "Conv2D"), ("max_pooling2d", "MaxPooling2D"), ("flatten", "Flatten"), ("dense", "Dense")]
    layers: list[Layer] = [
        {"layer": "encoder", "class": "Functional", "depth": 0, "forward": {device: 41, "CPU:0": 2},
         "backward": {device: 88}, "variables": [device], "parameters": 34826, "dtype": "float32"},
        *[Layer({"layer": f"encoder/{n}", "class": c, "depth": 1, "forward": {device: 4}, "backward": {device: 9},
                 "variables": [device], "parameters": 320, "dtype": "float32"}) for n, c in names],
        {"layer": "encoder/text_lookup", "class": "StringLookup", "depth": 1, "forward": {"CPU:0": 2},
         "backward": {}, "variables": ["CPU:0"], "parameters": None, "dtype": "string",
         "reason": "no GPU kernel for string ops" if script.gpu else None},
        {"layer": "(loss)", "class": "", "depth": 0, "forward": {device: 6}, "backward": {device: 4}},
    ]  # fmt: skip
    stages: list[Stage] = [
        {"stage": s, "name": n, "self_us": us, "elements": 9000, "per_batch_us": us * 32, "parallelism": p,
         "autotuned": False, "buffered": b, "buffer_size": size, "function": "load_image" if f else None,
         "file": f"/home/u/mnist/{f}" if f else None, "line": 41 if f else None, "python": bool(f)}
        for s, n, us, p, b, size, f in STAGES
    ]  # fmt: skip
    return [
        ev.Environment(t=t, src="agent", python="3.11.7", tensorflow="2.21.0", keras="3.15.1", keras_flavour="keras3",
                       tf_gpus=gpus),
        ev.Model(t=t, src="agent", name="encoder", cls="Functional", parameters=34826, layers=6),
        ev.Dataset(t=t, src="agent", kind="tf.data", batch_size=32, batches=script.steps_per_epoch),
        ev.Phase(t=t + 0.1, src="agent", phase="tracing"),
        ev.Epoch(t=t + 0.1, src="agent", state="begin", epoch=1, epochs=script.epochs,
                 steps=script.steps_per_epoch, fit=1),
        ev.Phase(t=t + 0.4, src="agent", phase="training"),
        ev.Placement(t=t + 0.5, src="agent", layers=layers, ops=140),
        ev.Pipeline(t=t + 0.5, src="agent", stages=stages),
        ev.Knobs(t=t + 0.5, src="agent", in_force={"memory_growth": dict(script.knobs).get("memory_growth", "off")}),
    ]  # fmt: skip


def host_and_gpu(script: Script, t: float) -> list[ev.Event]:
    """One sample of everything."""
    wave = math.sin(t)
    out: list[ev.Event] = [
        ev.HostSample(t=t, src="host", cpu_percent=50 + 4 * wave, cores_percent=[100.0, 40 + 5 * wave, 30, 21],
                      tree_cpu_percent=182 + 10 * wave, tree_rss_bytes=int(1.2 * GIB), script_rss_bytes=int(1.1 * GIB),
                      processes=2, threads=64, memory_used_bytes=6 * GIB, memory_total_bytes=16 * GIB,
                      disk_read_bps=3.2e6, disk_write_bps=0.0)
    ]  # fmt: skip
    if script.gpu:
        gpu: Gpu = {"index": 0, "uuid": UUID, "pci": "0000:00:04.0", "name": "NVIDIA T4",
               "busy_percent": round(34 + 6 * wave), "memory_used_bytes": int(14.1 * GIB),
               "memory_total_bytes": int(14.75 * GIB), "power_w": 41.2, "power_limit_w": 70.0, "temperature_c": 61,
               "processes": [{"pid": 4711, "memory_bytes": int(13.7 * GIB), "ours": True}]}  # fmt: skip
        out.append(ev.GpuSample(t=t, src="gpu", gpus=[gpu]))
        device: MemoryDevice = {
            "device": "GPU:0",
            "current_bytes": int(3.1 * GIB),
            "peak_bytes": int(3.4 * GIB),
            "limit_bytes": None,
        }
        out.append(ev.TfMemory(t=t, src="agent", devices=[device]))
    return out


def window(script: Script, t: float, first: int, steps: int) -> ev.Steps:
    """Steps that ended at `t`."""
    step_s = script.step_ms / 1e3 * (1 + 0.05 * math.sin(first))
    wall = steps * step_s
    bucket = str(ev.histogram_bucket(step_s))
    return ev.Steps(
        t=t, src="agent", pid=4711, fit=1, epoch=1 + (first - 1) // script.steps_per_epoch,
        first_step=first, steps=steps, executions=steps, wall_s=wall, wait_s=wall * script.wait,
        compute_s=wall * (0.98 - script.wait), host_s=wall * 0.02,
        periods={bucket: steps}, step_min_s=step_s, step_max_s=step_s, batch_size=32, examples=32 * steps,
        warmup=first <= 3,
    )  # fmt: skip


def training(script: Script, seconds: float, begin: float = 3.5, period: float = 0.5) -> Iterator[list[ev.Event]]:
    """Every half second of a run's events."""
    t, first = script.start + begin, 1
    epoch = 1
    while t < script.start + begin + seconds:
        steps = 3 if first == 1 else max(1, round(period * 1e3 / script.step_ms))
        t += period
        batch: list[ev.Event] = [window(script, t, first, steps), *host_and_gpu(script, t)]
        first += steps
        loss = 0.3 + 2.0 * math.exp(-first / 400)
        batch.append(ev.Metrics(t=t, src="agent", step=first, values={script.metric: loss, "accuracy": 1 - loss / 3}))
        if (first - 1) // script.steps_per_epoch + 1 > epoch:
            ended: dict[str, float | str] = {script.metric: loss, "accuracy": 1 - loss / 3, "val_loss": loss * 1.1}
            batch.append(ev.Epoch(t=t, src="agent", state="end", epoch=epoch, epochs=script.epochs, fit=1,
                                  steps=script.steps_per_epoch, wall_s=6.4, validation_s=0.3,
                                  metrics=ended))  # fmt: skip
            epoch += 1
            batch.append(ev.Epoch(t=t, src="agent", state="begin", epoch=epoch, epochs=script.epochs, fit=1,
                                  steps=script.steps_per_epoch, edge_s=0.4))  # fmt: skip
        yield batch


def output_text(epochs: int = 2) -> bytes:
    """What Keras prints: a bar that is rewritten in place, with colours."""
    out = b"2026-11-21 00:43:13.1 I external/local_xla/xla: oneDNN custom operations are on.\r\n"
    for epoch in range(1, epochs + 1):
        out += f"Epoch {epoch}/10\r\n".encode()
        for step in (1, 90, 200):
            bar = "━" * (step // 10) + " " * (20 - step // 10)
            out += (
                f"\r\x1b[1m{step:>3}/200\x1b[0m \x1b[32m{bar}\x1b[0m \x1b[1m6s\x1b[0m 31ms/step - loss: 0.5910".encode()
            )
        out += b"\r\n"
    return out


def everything(script: Script = Script(), seconds: float = 30.0) -> list[ev.Event]:
    """A run that trains."""
    out = [*opening(script), *host_and_gpu(script, script.start + 1.0), *first_steps(script)]
    for batch in training(script, seconds):
        out += batch
    return out


def write(folder: Path, events: list[ev.Event], output: bytes = b"") -> RunDir:
    """A run's folder with this journal."""
    folder.mkdir(parents=True, exist_ok=True)
    run = RunDir(folder)
    writer = JournalWriter(run.journal)
    for event in events:
        writer.append(event)
    if output:
        run.output_log.write_bytes(output)
        writer.append(ev.Log(t=events[-1].t, src="child", size_bytes=len(output)))
    writer.close()
    return run
