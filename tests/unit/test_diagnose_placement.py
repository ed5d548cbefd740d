"""Findings about where the work is done and in which precision: each appears when its signal does, and only then."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tests.journals import T0, start, state_of, steps, windows
from tfgpu_tui.core import events as ev
from tfgpu_tui.core.rows import Gpu, Layer, OpsOffGpu, TensorflowGpu
from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose import Finding, diagnose
from tfgpu_tui.report import report_json

FAMILY = ("place.", "dtype.", "rnn.", "precision.")


def row(layer: str = "dense", **more: Any) -> Layer:
    """A healthy row on a GPU."""
    values: dict[str, Any] = {
        "layer": layer,
        "class": "Dense",
        "depth": 0,
        "forward": {"GPU:0": 2},
        "backward": {"GPU:0": 3},
        "variables": ["GPU:0"],
        "parameters": 2_000_000,
        "dtype": "float32",
        "policy": "float32",
        "xla": False,
        "asked": None,
        "reason": None,
    }
    return cast(Layer, {**values, **more})


def cause(why: str, op: str = "AsString", ops: int = 1, dtype: str | None = None) -> OpsOffGpu:
    return {"op": op, "ops": ops, "why": why, "dtype": dtype}


def run(*rows: Layer, gpu: bool = True, extra: list[ev.Event] | None = None) -> RunState:
    placement = ev.Placement(
        t=T0 + 2, layers=list(rows), predicted=not gpu, kernels="the CUDA build of TensorFlow 2.21.0"
    )
    return state_of(start(), [placement], extra or [], windows(20))


def the(finding_id: str, state: RunState) -> Finding:
    return next(f for f in diagnose(state) if f.id == finding_id)


def family(state: RunState) -> list[str]:
    return [f.id for f in diagnose(state) if f.id.startswith(FAMILY)]


HEALTHY = [
    row(),
    row("rnn", recurrent={"cudnn": True, "blocked_by": []}),
    # Counters and shapes work in host memory by design, and a scope that asks for the device that it gets is no fault.
    row("small", parameters=0, not_on_gpu=[cause("host_memory", "AddV2", 3)]),
    row("meant", asked="GPU:0"),
    row("(optimizer)", parameters=None),
]


@pytest.mark.parametrize("gpu", [True, False])
def test_a_healthy_placement_has_no_finding(gpu: bool) -> None:
    assert family(run(*HEALTHY, gpu=gpu)) == []


def test_an_old_journal_without_reasons_is_not_judged() -> None:
    old = ev.Placement(t=T0, layers=[row(not_on_gpu=[cause("pinned", "MatMul")], asked="CPU:0")])
    assert family(state_of(start(), [old], windows(20))) == []


def times(**ms: float) -> list[ev.Event]:
    return [ev.LayerTimes(t=T0 + 5, steps=3, layers={layer: {"forward_ms": value} for layer, value in ms.items()})]


def test_a_pinned_layer_is_a_warning_and_measured_time_gives_the_severity() -> None:
    pinned = row("old", asked="CPU:0", forward={"CPU:0": 2}, not_on_gpu=[cause("pinned", "MatMul", 2)])
    finding = the("place.pinned_cpu", run(row(), pinned))
    assert finding.severity == "warning"
    assert finding.incomplete is not None
    assert "old" in finding.next
    assert "CPU:0" in finding.title
    measured = the("place.pinned_cpu", run(row(), pinned, extra=times(dense=1.0, old=9.0)))
    assert measured.severity == "critical"
    assert measured.share == pytest.approx(0.9)
    assert measured.incomplete is None
    cheap = the("place.pinned_cpu", run(row(), pinned, extra=times(dense=99.0, old=1.0)))
    assert cheap.severity == "info"


def test_pinned_small_change_is_nobodys_fault() -> None:
    small = row("count", parameters=0, asked="CPU:0", forward={"CPU:0": 1}, not_on_gpu=[cause("pinned", "AddV2")])
    assert family(run(row(), small)) == []


def test_what_is_only_predicted_is_information() -> None:
    rows = [
        row("old", asked="CPU:0", forward={"CPU:0": 2}, variables=["CPU:0"], not_on_gpu=[cause("pinned", "MatMul")]),
        row("text", forward={"CPU:0": 2}, not_on_gpu=[cause("no_gpu_kernel")]),
        row("rnn", recurrent={"cudnn": None, "blocked_by": ["unroll=True"]}),
    ]
    found = {f.id: f.severity for f in diagnose(run(*rows, gpu=False)) if f.id.startswith(FAMILY)}
    assert found == {"place.pinned_cpu": "info", "place.no_gpu_kernel": "info", "rnn.not_cudnn": "info"}


def test_ops_without_a_gpu_kernel_are_named() -> None:
    text = row("text", not_on_gpu=[cause("no_gpu_kernel"), cause("no_gpu_kernel", "StringSplit", 2)])
    finding = the("place.no_gpu_kernel", run(row(), text))
    assert "AsString, StringSplit have no GPU kernel" in finding.title
    assert finding.lines == ["text: AsString, StringSplit x2"]
    assert "dataset.map" in finding.next


def test_a_dtype_without_a_kernel_is_named() -> None:
    wide = row("bins", not_on_gpu=[cause("dtype_no_kernel", "Bincount", dtype="float64")])
    finding = the("place.dtype_no_kernel", run(wide))
    assert "Bincount for float64" in finding.title
    assert finding.evidence["dtypes"] == {"Bincount": "float64"}
    assert "before Bincount" in finding.next


def test_strings_are_not_cast() -> None:
    words = row("words", not_on_gpu=[cause("dtype_no_kernel", "Equal", dtype="string")])
    assert "input pipeline" in the("place.dtype_no_kernel", run(words)).next


def test_a_device_that_was_not_given_is_said_where_there_is_one_to_give() -> None:
    moved = row("far", asked="GPU:3", forward={"CPU:0": 2})
    assert the("place.soft_moved", run(moved)).severity == "warning"
    assert "GPU:3" in the("place.soft_moved", run(moved)).lines[0]
    assert the("place.soft_moved", run(moved, gpu=False)).severity == "info"
    assert family(run(row("far", asked="GPU:3", forward={"GPU:0": 2}, xla=True))) == []


def test_variables_on_another_device_are_counted_in_bytes() -> None:
    split = row("far", variables=["CPU:0"], forward={"GPU:0": 2}, variable_copies=2)
    finding = the("place.split", run(split))
    assert finding.severity == "warning"
    assert finding.evidence["bytes_per_step"] == 8_000_000
    assert the("place.split", run({**split, "parameters": 100})).severity == "info"
    # One cause, one finding: pinned to the CPU beside a GPU.
    pinned = row("old", asked="CPU:0", forward={"CPU:0": 2}, variable_copies=2, not_on_gpu=[cause("pinned", "MatMul")])
    assert family(run(pinned)) == ["place.pinned_cpu"]


def test_float64_in_layers_is_a_warning_on_a_gpu_unless_it_is_meant() -> None:
    wide = row("wide", dtype="float64", float64_ops=4)
    data = [ev.Dataset(t=T0 + 1, kind="arrays", elements=[{"dtype": "float64", "shape": [32, 8]}])]
    finding = the("dtype.float64", run(wide, extra=list(data)))
    assert finding.severity == "warning"
    assert "NumPy" in finding.lines[1]
    assert the("dtype.float64", run(wide, gpu=False)).severity == "info"
    assert the("dtype.float64", run({**wide, "policy": "float64"})).severity == "info"
    # Keras casts float64 data to float32 before the first layer: no fault.
    assert family(run(row(), extra=list(data))) == []


def test_a_recurrent_layer_off_cudnn_names_the_setting() -> None:
    slow = row("lstm", recurrent={"cudnn": False, "blocked_by": ["recurrent_dropout=0.2"]})
    finding = the("rnn.not_cudnn", run(slow))
    assert finding.severity == "warning"
    assert "recurrent_dropout=0.2" in finding.next
    unknown = the("rnn.not_cudnn", run(row("lstm", recurrent={"cudnn": False, "blocked_by": []})))
    assert unknown.incomplete is not None


def gpu_seen(capability: list[int], busy: float) -> list[ev.Event]:
    sample: Gpu = {"index": 0, "uuid": "GPU-a", "busy_percent": busy, "processes": [{"pid": 4711, "ours": True}]}
    listed: list[TensorflowGpu] = [{"device": "GPU:0", "uuid": "GPU-a", "capability": capability}]
    seen = ev.Environment(t=T0 + 1, src="agent", nvidia_devices=1, tf_gpus=listed)
    return [seen, *(ev.GpuSample(t=T0 + i / 2, gpus=[sample]) for i in range(40))]


@pytest.mark.parametrize(
    ("capability", "busy", "policy", "knob"),
    [
        ([7, 5], 90.0, "float32", "precision=mixed_float16"),
        ([9, 0], 90.0, "float32", "precision=mixed_bfloat16"),
        ([6, 1], 90.0, "float32", None),
        ([9, 0], 20.0, "float32", None),
        ([9, 0], 90.0, "mixed_bfloat16", None),
    ],
)
def test_tensor_cores_are_offered_to_a_busy_gpu_in_float32(
    capability: list[int], busy: float, policy: str, knob: str | None
) -> None:
    state = run(row(policy=policy), extra=gpu_seen(capability, busy))
    found = [f.knob for f in diagnose(state) if f.id == "precision.unused_tensor_cores"]
    assert found == ([knob] if knob else [])


def test_the_report_has_the_reasons_the_times_and_null_where_nothing_was_measured() -> None:
    rows = [row(), row("text", not_on_gpu=[cause("no_gpu_kernel")])]
    placed = report_json.build(run(*rows, extra=times(text=1.25)))["placement"]
    assert [r["ms"] for r in placed] == [None, 1.25]
    assert placed[0]["not_on_gpu"] == []
    assert placed[1]["not_on_gpu"][0]["op"] == "AsString"
    old = report_json.build(state_of(start(), [ev.Placement(t=T0, layers=[row()])], [steps(3)]))["placement"][0]
    assert old["not_on_gpu"] is None


def test_a_refused_profile_never_replaces_a_measured_one() -> None:
    refused = ev.LayerTimes(t=T0 + 6, refused="TensorBoard holds the profiler")
    state = run(row(), extra=[*times(dense=2.0), refused])
    assert state.layer_ms(row()) == 2.0
    assert run(row(), extra=[refused]).layer_ms(row()) is None
