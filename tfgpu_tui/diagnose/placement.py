"""Family B: the GPU is visible, the work is elsewhere (pure). What is computed there is in `precision`.

Without a GPU the same causes are said as information, for they are predicted: from the table of kernels of that
TensorFlow version. Where the time per layer was measured, it gives the severity.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tfgpu_tui.core import units
from tfgpu_tui.core.rows import Layer, OpsOffGpu
from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose.finding import Finding, severity_of

HEAVY_OPS = ("MatMul", "Conv", "Einsum", "RNN", "Attention")
"""Parts of the names of ops that a GPU is bought for."""
NOTICEABLE_BYTES = 1 << 20
"""Copies of less a step are not worth a warning."""
MEASURE = "how much time it takes is not measured: --set profile=5 shows the time per layer"


def findings(state: RunState) -> Iterator[Finding]:
    """place.pinned_cpu, no_gpu_kernel, dtype_no_kernel, soft_moved, split."""
    placement = state.placement
    if placement is None or placement.predicted is None or not state.train.steps:
        return
    gpu = not placement.predicted
    rows = placement.layers
    yield from _pinned(state, rows, gpu)
    yield from _no_kernel(state, rows, gpu)
    yield from _no_dtype(state, rows, gpu)
    yield from _moved(rows, gpu)
    yield from _split(rows, gpu)


def _with(rows: Iterable[Layer], why: str) -> list[tuple[Layer, list[OpsOffGpu]]]:
    """The rows that have ops off the GPU for that reason, with these ops."""
    found = [(row, [c for c in row.get("not_on_gpu") or () if c.get("why") == why]) for row in rows]
    return [(row, causes) for row, causes in found if causes]


def _names(rows: Iterable[Layer], limit: int = 3) -> str:
    names = [str(row.get("layer")) for row in rows]
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def _ops(causes: Iterable[OpsOffGpu]) -> str:
    return ", ".join(f"{c['op']} x{c['ops']}" if c["ops"] > 1 else str(c["op"]) for c in causes)


def layers(rows: Sequence[object], one: str = "", many: str = "") -> str:
    """`1 layer runs`, `3 layers run`."""
    return f"1 layer {one}".strip() if len(rows) == 1 else f"{len(rows)} layers {many}".strip()


def measured_share(state: RunState, rows: list[Layer]) -> float | None:
    """The share of the profiled time of all layers that these rows took; None where it was not measured."""
    times = state.layer_times
    if times is None or times.refused is not None or state.placement is None:
        return None
    total = sum(state.layer_ms(row) or 0.0 for row in state.placement.layers)
    return sum(state.layer_ms(row) or 0.0 for row in rows) / total if total else None


def severity(share: float | None, gpu: bool, unmeasured: str) -> str:
    """By the measured share of time, `unmeasured` without one; information where it is only predicted."""
    if not gpu:
        return "info"
    return unmeasured if share is None else (severity_of(share) or "info")


def _rows_evidence(found: list[tuple[Layer, list[OpsOffGpu]]], share: float | None, gpu: bool) -> dict[str, object]:
    return {
        "layers": [
            {"layer": row.get("layer"), "ops": {c["op"]: c["ops"] for c in causes}} for row, causes in found[:20]
        ],
        "share": None if share is None else round(share, 4),
        "predicted": not gpu,
    }


def _pinned(state: RunState, rows: list[Layer], gpu: bool) -> Iterator[Finding]:
    found = [(row, causes) for row, causes in _with(rows, "pinned") if _heavy(row, causes)]
    if not found:
        return
    share = measured_share(state, [row for row, _ in found])
    device = str(found[0][0].get("asked") or "the CPU")
    yield Finding(
        id="place.pinned_cpu",
        severity=severity(share, gpu, "warning"),
        title=f"{layers(found, 'is', 'are')} pinned to {device} by tf.device"
        + (" while a GPU is there" if gpu else ": on a GPU machine too"),
        lines=[f"{row.get('layer')}: {_ops(causes)}" for row, causes in found[:3]],
        next=f"Take the `with tf.device(…)` out of {_names(row for row, _ in found)}, unless it is meant.",
        evidence=_rows_evidence(found, share, gpu),
        share=share or 0.0,
        incomplete=None if share is not None or not gpu else MEASURE,
    )


def _heavy(row: Layer, causes: list[OpsOffGpu]) -> bool:
    return bool(row.get("parameters")) or any(word in str(c["op"]) for c in causes for word in HEAVY_OPS)


def _no_kernel(state: RunState, rows: list[Layer], gpu: bool) -> Iterator[Finding]:
    found = _with(rows, "no_gpu_kernel")
    if not found:
        return
    share = measured_share(state, [row for row, _ in found])
    ops = sorted({str(c["op"]) for _, causes in found for c in causes})
    have = "has" if len(ops) == 1 else "have"
    yield Finding(
        id="place.no_gpu_kernel",
        severity=severity(share, gpu, "info"),
        title=f"{', '.join(ops[:3])}{f' and {len(ops) - 3} more' if len(ops) > 3 else ''} {have} no GPU kernel: "
        f"part of {layers(found)} {'runs' if gpu else 'would run'} on the CPU",
        lines=[f"{row.get('layer')}: {_ops(causes)}" for row, causes in found[:3]],
        next="Do this work in the input pipeline (dataset.map), so that it runs beside the GPU and not in every step.",
        evidence={**_rows_evidence(found, share, gpu), "kernels": state.placement.kernels if state.placement else None},
        share=share or 0.0,
        incomplete=None if share is not None or not gpu else MEASURE,
    )


def _no_dtype(state: RunState, rows: list[Layer], gpu: bool) -> Iterator[Finding]:
    found = _with(rows, "dtype_no_kernel")
    if not found:
        return
    share = measured_share(state, [row for row, _ in found])
    pairs = sorted({(str(c["op"]), str(c.get("dtype") or "its dtypes")) for _, causes in found for c in causes})
    shown = ", ".join(f"{op} for {dtype}" for op, dtype in pairs[:3])
    yield Finding(
        id="place.dtype_no_kernel",
        severity=severity(share, gpu, "info"),
        title=f"No GPU kernel of {shown}: part of {layers(found)} {'runs' if gpu else 'would run'} on the CPU",
        lines=[f"{row.get('layer')}: {_ops(causes)}" for row, causes in found[:3]],
        next="Strings stay on the CPU: do this work in the input pipeline (dataset.map), beside the GPU."
        if "string" in dict(pairs).values()
        else f"Cast to a dtype that has one (tf.cast(x, tf.float32)) before {pairs[0][0]}.",
        evidence={**_rows_evidence(found, share, gpu), "dtypes": dict(pairs)},
        share=share or 0.0,
        incomplete=None if share is not None or not gpu else MEASURE,
    )


def _moved(rows: list[Layer], gpu: bool) -> Iterator[Finding]:
    """Asked for a device and given none of it. Ops that XLA compiled are where the whole function is."""
    found = [
        (str(row["layer"]), asked, got)
        for row in rows
        if (asked := row.get("asked")) and (got := row.get("forward")) and asked not in got and not row.get("xla")
    ]
    if not found:
        return
    wanted = sorted({asked for _, asked, _ in found})
    given = sorted({device for _, _, got in found for device in got})
    yield Finding(
        id="place.soft_moved",
        # A portable script asks for a GPU and takes what there is: no fault where there is none.
        severity="warning" if gpu or any(device.startswith("CPU") for device in wanted) else "info",
        title=f"{layers(found)} asked for {', '.join(wanted)}, TensorFlow put them on {', '.join(given)}",
        lines=[f"{layer}: asked for {asked}, got {', '.join(got)}" for layer, asked, got in found[:3]],
        next="TensorFlow moves such ops without a message: name a device that is there, or make it visible "
        "(CUDA_VISIBLE_DEVICES). tf.config.set_soft_device_placement(False) turns it into an error.",
        evidence={"layers": [{"layer": layer, "asked": asked, "got": got} for layer, asked, got in found[:20]]},
    )


def _split(rows: list[Layer], gpu: bool) -> Iterator[Finding]:
    """A layer's variables on one device, its computation on another."""
    found = [
        row
        for row in rows
        if row.get("variable_copies")
        and (variables := row.get("variables"))
        and not set(variables) & set(row.get("forward") or ())
        # Pinned to the CPU beside a GPU: that finding names the cause.
        and not (gpu and str(row.get("asked")).startswith("CPU"))
    ]
    if not found:
        return
    size = sum(4 * (row.get("parameters") or 0) for row in found)
    first = found[0]
    yield Finding(
        id="place.split",
        severity="warning" if gpu and size >= NOTICEABLE_BYTES else "info",
        title=f"{layers(found, 'computes', 'compute')} on another device than where the variables are: "
        f"{units.size(size)} copied each step",
        lines=[
            f"{row['layer']}: variables on {', '.join(row.get('variables') or ())}, "
            f"computed on {', '.join(row.get('forward') or ())}, {row.get('variable_copies')} copied each step"
            for row in found[:3]
        ],
        next=f"Build {first['layer']} under the same tf.device as its call (Keras 3 makes variables before the call), "
        "or take the scope away.",
        evidence={
            "bytes_per_step": size,
            "layers": [
                {k: r.get(k) for k in ("layer", "variables", "forward", "variable_copies", "parameters")}
                for r in found[:20]
            ],
        },
    )
