"""Family B: in which precision, and by which kernels, the layers compute (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from tfgpu_tui.core import units
from tfgpu_tui.core.events import LayerTimes
from tfgpu_tui.core.rows import Layer, Recurrent, is_layer
from tfgpu_tui.core.state import STEADY_STEPS, RunState
from tfgpu_tui.diagnose.finding import WARNING_SHARE, Finding, severity_of
from tfgpu_tui.diagnose.placement import layers, measured_share, severity

FLOAT64_SHARE = 0.02
"""Of a layer's ops; single float64 ops (a counter, a time) are nobody's fault."""
HALF = ("float16", "bfloat16")
MANY_PARAMETERS = 1_000_000
FIRST_WITH, TF32_FROM = 7, 8
"""Major compute capability of the first GPUs with tensor cores, and of the first that compute float32 on them."""
MOST = 0.5
"""Of the time in products and convolutions, that plain kernels take where the tensor cores are called unused."""
BUSY_PERCENT = 50.0
"""Of a GPU that computes; below it something else holds it back, and faster arithmetic would not help."""


def findings(state: RunState) -> Iterator[Finding]:
    """dtype.float64, rnn.not_cudnn, precision.unused_tensor_cores, precision.slow_on_cpu."""
    placement = state.placement
    if placement is None or placement.predicted is None or not state.train.steps:
        return
    gpu = not placement.predicted
    yield from _float64(state, placement.layers, gpu)
    yield from _recurrent(state, placement.layers, gpu)
    if gpu:
        yield from _tensor_cores(state, placement.layers)
    yield from _slow_on_cpu(state, placement.layers)


def _float64(state: RunState, rows: list[Layer], gpu: bool) -> Iterator[Finding]:
    found = [row for row in rows if _float64_share(row) >= FLOAT64_SHARE and is_layer(row)]
    if not found:
        return
    meant = all(row.get("policy") == "float64" for row in found)
    share = measured_share(state, found)
    elements = state.dataset.elements if state.dataset else []
    wide_input = any(element.get("dtype") == "float64" for element in elements)
    yield Finding(
        id="dtype.float64",
        severity="info" if meant or not gpu else severity(share, gpu, "warning"),
        title=f"{layers(found, 'computes', 'compute')} in float64",
        lines=[
            f"{row['layer']}: {row['float64_ops']} ops in float64" + (", as its dtype says" if meant else "")
            for row in found[:3]
        ]
        + (["the input pipeline yields float64, NumPy's default"] if wide_input else []),
        next="Use float32: x.astype('float32') on the data, dtype='float32' on the layer, tf.float32 in casts. Most "
        "GPUs compute float64 at 1/32 to 1/64 of that speed, CPUs at half.",
        evidence={
            "layers": {str(row["layer"]): row["float64_ops"] for row in found[:20]},
            "input_is_float64": wide_input,
            "share": None if share is None else round(share, 4),
        },
        share=share or 0.0,
    )


def _float64_share(row: Layer) -> float:
    ops = sum((row.get("forward") or {}).values()) + sum((row.get("backward") or {}).values())
    return (row.get("float64_ops") or 0) / ops if ops else 0.0


def _recurrent(state: RunState, rows: list[Layer], gpu: bool) -> Iterator[Finding]:
    without = [(row, r["blocked_by"]) for row in rows if (r := row.get("recurrent")) and _without_cudnn(r, gpu)]
    if not without:
        return
    found = [row for row, _ in without]
    blocked = sorted({reason for _, reasons in without for reason in reasons})
    share = measured_share(state, found)
    yield Finding(
        id="rnn.not_cudnn",
        severity="info" if not gpu or all(row.get("xla") for row in found) else severity(share, gpu, "warning"),
        title=f"{layers(found, 'does', 'do')} without cuDNN's fused kernel for LSTM and GRU"
        if gpu
        else f"On a GPU {layers(found)} would do without cuDNN's fused kernel for LSTM and GRU",
        lines=[f"{row['layer']}: {', '.join(reasons) or 'reason not known'}" for row, reasons in without[:3]],
        next=f"cuDNN needs Keras' defaults; it is ruled out by {', '.join(blocked)}. Go back if the model allows."
        if blocked
        else "Its settings would allow it: look for a mask that is not padded on the right, or a tf.device around it.",
        evidence={
            "layers": {str(row["layer"]): reasons for row, reasons in without[:20]},
            "share": None if share is None else round(share, 4),
            "predicted": not gpu,
        },
        share=share or 0.0,
        incomplete=None if blocked else "which condition of cuDNN failed is not known",
    )


def _without_cudnn(recurrent: Recurrent, gpu: bool) -> bool:
    return recurrent["cudnn"] is False if gpu else bool(recurrent["blocked_by"])


def _tensor_cores(state: RunState, rows: list[Layer]) -> Iterator[Finding]:
    """A GPU with tensor cores that are not used: by the kernels' names where the step was looked into, else what the
    dtypes say of a GPU that is busy."""
    gpus = state.environment.tf_gpus or []
    known = [capability for gpu in gpus if (capability := gpu.get("capability"))]
    if not known or len(known) < len(gpus) or min(known)[0] < FIRST_WITH or state.judged.steps < STEADY_STEPS:
        return
    times = state.layer_times
    if times is not None and times.arithmetic and times.step_ms:
        yield from _plain_kernels(state, times, min(known))
    else:
        yield from _float32(state, rows, min(known))


def _plain_kernels(state: RunState, times: LayerTimes, oldest: list[int]) -> Iterator[Finding]:
    plain = times.arithmetic.get("plain", 0.0)
    share = min(plain / (times.step_ms or plain or 1.0), 1.0)
    if plain < MOST * sum(times.arithmetic.values()) or share < WARNING_SHARE:
        return
    slow = [row for row in times.products if row["arithmetic"] == "plain"]
    why, step = _why_plain(state, oldest)
    knob = "precision=" + ("mixed_bfloat16" if oldest[0] >= TF32_FROM else "mixed_float16")
    asked = state.run is not None and state.run.knobs.get("precision")
    yield Finding(
        id="precision.unused_tensor_cores",
        severity="warning",
        title=f"The GPU's tensor cores are not used: {units.share(share)} of each step in plain float32 kernels",
        lines=[
            *([why] if why else []),
            f"{units.duration(plain / 1e3)} a step in products and convolutions without them, of "
            f"{units.duration(sum(times.arithmetic.values()) / 1e3)} in all such kernels",
            *(f"{row.get('layer') or 'unknown layer'}: {row['kernel'][:60]}" for row in slow[:2]),
        ],
        next=step,
        evidence={
            "capability": oldest,
            "share": round(share, 4),
            "arithmetic_ms": times.arithmetic,
            "kernels": slow,
            "cause": why,
        },
        knob=None if asked or (why and oldest[0] >= TF32_FROM) else knob,
        share=share,
        incomplete="how much they gain is known only after a run with them",
    )


def _why_plain(state: RunState, oldest: list[int]) -> tuple[str | None, str]:
    """What keeps float32 products off the tensor cores, and what to do."""
    if oldest[0] < TF32_FROM:
        return (
            f"compute capability {oldest[0]}.{oldest[1]}: float32 does not use them at all",
            "Try mixed precision: keras.mixed_precision.set_global_policy('mixed_float16'). Weights stay in float32; "
            "compare the losses.",
        )
    place = state.debug_switches.get("tensor_float_32_off")
    if place is not None:
        call = "tf.config.experimental.enable_tensor_float_32_execution(False)"
        return f"{call} at {place}", f"Take it out ({place}): TF32 keeps float32's range, and ten bits of its digits."
    override = ((state.preflight.facts.get("env") if state.preflight else None) or {}).get("NVIDIA_TF32_OVERRIDE")
    if override == "0":
        return "NVIDIA_TF32_OVERRIDE=0 is set where the run was started", "unset NVIDIA_TF32_OVERRIDE"
    return None, (
        "Make channels and units multiples of 8, which is what these cores work on; or try mixed precision: "
        "keras.mixed_precision.set_global_policy('mixed_bfloat16')."
    )


def _float32(state: RunState, rows: list[Layer], oldest: list[int]) -> Iterator[Finding]:
    """Information, for what is gained shows only a run with it."""
    weighty = [row for row in rows if row.get("parameters")]
    parameters = sum(row.get("parameters") or 0 for row in weighty)
    busy = [mean for view in state.gpus.values() if view.ours and (mean := view.busy.mean()) is not None]
    wide = all((row.get("policy") or row.get("dtype")) == "float32" for row in weighty)
    if not wide or parameters < MANY_PARAMETERS or not busy or min(busy) < BUSY_PERCENT:
        return
    newer = oldest[0] >= TF32_FROM
    yield Finding(
        id="precision.unused_tensor_cores",
        severity="info",
        title="The GPU has tensor cores, the model computes in float32",
        lines=[
            f"compute capability {oldest[0]}.{oldest[1]}, GPU busy {min(busy):.0f} %",
            f"{units.number(parameters)} parameters, all in float32",
            "float32 products run on them as TF32, at half the speed of 16 bits or less"
            if newer
            else "on this GPU float32 does not use them at all",
        ],
        next="Try mixed precision: keras.mixed_precision.set_global_policy("
        + ("'mixed_bfloat16')." if newer else "'mixed_float16').")
        + " Weights stay in float32; compare the losses.",
        evidence={"capability": oldest, "busy_mean": round(min(busy), 1), "parameters": parameters},
        knob="precision=" + ("mixed_bfloat16" if newer else "mixed_float16"),
        incomplete="how much it gains is known only after a run with it",
    )


def _slow_on_cpu(state: RunState, rows: list[Layer]) -> Iterator[Finding]:
    """Layers that compute in a 16-bit dtype on a CPU without arithmetic for it, in a step that is mostly compute."""
    able, compute = state.environment.cpu_half, state.judged.shares()["compute"]
    if able is None or compute is None or compute < WARNING_SHARE or state.judged.steps < STEADY_STEPS:
        return
    found = [row for row in rows if row.get("dtype") in HALF and row.get("dtype") not in able and _on_cpu(row)]
    if not any(row.get("parameters") for row in found):
        return
    share, dtype = measured_share(state, found), str(found[0]["dtype"])
    if share is not None and (share := share * compute) < WARNING_SHARE:
        return
    said = (state.knobs_in_force.script if state.knobs_in_force else {}).get("precision")
    yield Finding(
        id="precision.slow_on_cpu",
        severity="warning" if share is None else severity_of(share) or "warning",
        title=f"{layers(found, 'computes', 'compute')} in {dtype} on a CPU that has no arithmetic for it",
        lines=[
            *([said] if said else [f"{found[0]['layer']}: dtype policy {found[0].get('policy')}"]),
            f"compute is {units.share(compute)} of the step"
            + ("" if share is None else f", {units.share(share)} in these layers"),
            f"the CPU converts each number to float32 and back; it computes in {', '.join(['float32', *able])}",
        ],
        next="Compute in float32 on this machine: keras.config.set_dtype_policy('float32'), or no policy at all. "
        "Mixed precision pays on a GPU with tensor cores.",
        knob="precision=float32" if state.run is not None and not state.run.knobs.get("precision") else None,
        evidence={
            "layers": {str(row["layer"]): row.get("dtype") for row in found[:20]},
            "set_by": said,
            "cpu_computes_in": able,
            "compute_share": round(compute, 4),
            "share": None if share is None else round(share, 4),
        },
        share=share or 0.0,
        incomplete=None if share is not None else "what float32 would save shows only a run with it",
    )


def _on_cpu(row: Layer) -> bool:
    devices = row.get("forward") or {}
    return bool(devices) and all(device.startswith("CPU") for device in devices)
