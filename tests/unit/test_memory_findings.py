"""Findings about the GPU's memory and about the run itself, each with what proves it and without."""

from __future__ import annotations

from typing import Any

import pytest

from tests.journals import T0, evidence, start, state_of, windows
from tests.unit import test_diagnose_gpu as gpus
from tfgpu_tui.core import events as ev
from tfgpu_tui.core import knobs, oom
from tfgpu_tui.core.rows import Gpu, GpuProcess
from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose import diagnose
from tfgpu_tui.diagnose.finding import Finding
from tfgpu_tui.diagnose.memory import layer_of
from tfgpu_tui.report import report_json

GIB = 1 << 30


def found(state: RunState, name: str) -> Finding | None:
    findings = [f for f in diagnose(state) if f.id == name]
    for finding in findings:
        assert finding.knob is None or knobs.parse([finding.knob]), "Enter must be able to take it"
    assert len(findings) <= 1
    return findings[0] if findings else None


def gpu(mine: int = 15 * GIB, others: int = 0) -> list[ev.Event]:
    """A GPU of 16 GiB on which this run holds `mine` bytes."""
    processes: list[GpuProcess] = [{"pid": 4711, "memory_bytes": mine, "ours": True}]
    if others:
        processes.append({"pid": 99, "memory_bytes": others, "ours": False})
    sample: Gpu = {"index": 0, "uuid": "GPU-a", "memory_total_bytes": 16 * GIB, "memory_used_bytes": mine + others}
    return [
        ev.Environment(t=T0, nvidia_devices=1, tf_gpus=[{"device": "GPU:0", "uuid": "GPU-a"}]),
        ev.GpuSample(t=T0 + 1, gpus=[{**sample, "processes": processes}]),
    ]


def failed(case: str | None, **fields: Any) -> ev.OutOfMemory:
    values: dict[str, Any] = {
        "device": "GPU:0",
        "allocator": "GPU_0_bfc",
        "op": "StatefulPartitionedCall/net_1/block_1/wide_1/MatMul",
        "wanted_bytes": 2 * GIB,
        "in_use_bytes": 13 * GIB,
        "pool_bytes": 15 * GIB,
        "limit_bytes": 15 * GIB,
        "largest_free_bytes": GIB // 2,
        "shape": [64, 8192, 1024],
        "dtype": "float",
    }
    return ev.OutOfMemory(t=T0 + 20, src="child", case=case, **{**values, **fields})


def placement() -> ev.Placement:
    return ev.Placement(t=T0 + 3, layers=[{"layer": name} for name in ("net/wide", "net/block/wide", "(loss)")])


@pytest.mark.parametrize(
    ("case", "says", "knob"),
    [
        (oom.TOO_BIG, "larger than all", None),
        (oom.FULL, "really full: 13.0 GiB of 15.0 GiB", "precision=mixed_float16"),
        (oom.FRAGMENTED, "2.0 GiB are free, in pieces of 512 MiB", "allocator=cuda_malloc_async"),
        (oom.NO_ROOM, "other processes hold 1024 MiB", None),
    ],
)
def test_out_of_memory_names_the_case_and_the_layer(case: str, says: str, knob: str | None) -> None:
    state = state_of(start(), windows(5), gpu(others=GIB), [placement(), failed(case)])
    finding = found(state, "memory.oom")
    assert finding is not None
    assert finding.severity == "critical"
    assert "GPU:0" in finding.title and "net/block/wide" in finding.title
    assert says in finding.lines[0]
    assert finding.knob == knob
    assert finding.incomplete is None


def test_a_layer_is_named_only_where_one_fits() -> None:
    def named(op: str, *layers: str) -> str | None:
        rows = ev.Placement(t=T0 + 3, layers=[{"layer": name} for name in layers])
        return layer_of(state_of(start(), [rows]), op)

    assert named("functional_1/dense_1_1/MatMul", "functional/dense", "functional/dense_1") == "functional/dense_1"
    assert named("model/dense_1/MatMul", "model/dense", "model/dense_1") is None
    assert named("gradient_tape/net_1/wide_1/MatMul", "net", "net/wide", "(loss)") == "net/wide"
    assert named("adam/mul", "net/wide") is None


def test_out_of_memory_that_the_script_survived_is_a_warning() -> None:
    finding = found(state_of(start(), [failed(oom.FULL)], windows(100)), "memory.oom")
    assert finding is not None and finding.severity == "warning"
    assert "net_1/block_1/wide_1/MatMul" in finding.title, "no placement yet: the op is named"


def test_out_of_memory_from_the_exception_alone() -> None:
    text = (
        "OOM when allocating tensor with shape[8,9] and type float on /device:GPU:0 by allocator gpu_async_0 [Op:Fill]"
    )
    error = ev.ScriptError(t=T0 + 5, exception="ResourceExhaustedError", message=text, file="/home/u/t.py", line=3)
    ended = ev.RunEnded(t=T0 + 6, exit_code=1)
    state = state_of(start(), windows(5), [error, ended])
    finding = found(state, "memory.oom")
    assert finding is not None and finding.incomplete is not None
    assert finding.evidence["shape"] == [8, 9]
    assert diagnose(state)[0].id == "memory.oom"
    other = ev.ScriptError(t=T0 + 5, exception="ValueError", message=text)
    assert found(state_of(start(), windows(5), [other, ended]), "memory.oom") is None
    assert found(state_of(start(), windows(100)), "memory.oom") is None


def growth(in_force: str | None, asked: dict[str, str], note: str | None = None, script: str | None = None) -> RunState:
    told = ev.Knobs(
        t=T0 + 3,
        src="agent",
        in_force={"memory_growth": in_force},
        notes={"memory_growth": note} if note else {},
        script={"memory_growth": script} if script else {},
    )
    return state_of(start(asked), gpu(), [told], windows(40))


def test_growth_set_otherwise_than_asked_is_named_with_its_place() -> None:
    changed = 'os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] = "false" at train.py:3'
    finding = found(growth("off", {"memory_growth": "on"}, script=changed), "memory.growth_overridden")
    assert finding is not None and finding.lines == [changed]
    late = "set_memory_growth(True) at train.py:9 came too late: Physical devices cannot be modified"
    finding = found(growth("off", {}, note=late), "memory.growth_overridden")
    assert finding is not None and finding.knob == "memory_growth=on" and "train.py:9" in finding.lines[0]


@pytest.mark.parametrize(
    ("in_force", "asked"),
    [("on", {"memory_growth": "on"}), ("off", {}), (None, {"memory_growth": "on"}), ("on", {})],
)
def test_growth_as_asked_is_no_finding(in_force: str | None, asked: dict[str, str]) -> None:
    state = growth(in_force, asked, script="set_memory_growth(True) at train.py:9")
    assert found(state, "memory.growth_overridden") is None


def test_an_old_name_is_answered_with_todays_call() -> None:
    text = "'Sequential' object has no attribute 'fit_generator'"
    error = ev.ScriptError(t=T0 + 5, exception="AttributeError", message=text, file="/home/u/train.py", line=17)
    ended = ev.RunEnded(t=T0 + 6, exit_code=1)
    finding = found(state_of(start(), [error, ended]), "run.legacy_api")
    assert finding is not None
    assert "train.py:17" in finding.next and "model.fit(" in finding.next
    assert found(state_of(start(), [error]), "run.legacy_api") is None, "it may still be caught"
    own = ev.ScriptError(
        t=T0 + 5, exception="AttributeError", message="'Trainer' object has no attribute 'placeholder'"
    )
    assert found(state_of(start(), [own, ended]), "run.legacy_api") is None
    assert found(state_of(start(), [own, ended]), "run.failed") is not None
    assert found(state_of(start(), [own, ended]), "run.no_steps") is None, "it did not come to that"


def test_an_allocation_that_failed_in_an_output_nobody_could_read() -> None:
    """The exception alone says it; the numbers are those that the allocator last told."""
    memory = ev.TfMemory(t=T0 + 4, devices=[{"device": "GPU:0", "current_bytes": 6 << 30, "limit_bytes": 9 << 30}])
    node = "{{function_node __wrapped__AddV2_device_/job:localhost/replica:0/task:0/device:GPU:0}}"
    text = f"{node} failed to allocate memory [Op:AddV2] name: "
    error = ev.ScriptError(t=T0 + 5, exception="ResourceExhaustedError", message=text, file="/home/u/train.py", line=17)
    finding = found(state_of(start(), [memory, error]), "memory.oom")
    assert finding is not None and finding.title == "Out of memory on GPU:0 at AddV2"
    assert finding.lines == ["6.0 GiB were in use a second before, of 9.0 GiB allowed"]
    other = ev.ScriptError(t=T0 + 5, exception="ResourceExhaustedError", message="too many open files")
    assert found(state_of(start(), [memory, other]), "memory.oom") is None


def test_a_line_of_the_output_and_the_exception_complete_each_other() -> None:
    """A processor whose allocator writes no dump: the line names the tensor, the exception the op."""
    line = ev.OutOfMemory(t=T0 + 4, device="CPU:0", allocator="cpu", shape=[2048, 2_000_000], dtype="float")
    text = (
        "OOM when allocating tensor with shape[2048,2000000] and type float on /job:localhost/replica:0/task:0/"
        "device:CPU:0 by allocator cpu\n\t [[{{node net_1/huge_1/BiasAdd}}]]"
    )
    error = ev.ScriptError(t=T0 + 5, exception="ResourceExhaustedError", message=text, file="/home/u/train.py", line=17)
    finding = found(state_of(start(), [line, error]), "memory.oom")
    assert finding is not None
    assert finding.title == "Out of memory on the host's memory for 15.3 GiB at net_1/huge_1/BiasAdd"
    assert evidence(finding)["wanted_mib"] == 15625.0


XLA_REFUSES = (
    "Graph execution error:\n\nDetected at node sequential_1/bucket_1/AsString defined at (most recent call last):\n"
    "Detected unsupported operations when trying to compile graph __inference_one_step_on_data_1040[] on XLA_GPU_JIT: "
    "AsString (No registered 'AsString' OpKernel for XLA_GPU_JIT devices compatible with node "
    "{{node sequential_1/bucket_1/AsString}}){{node sequential_1/bucket_1/AsString}}\nThe op is created at: \n"
)
"""TensorFlow 2.21 on an H200, where Keras compiles the step by itself."""


def test_an_op_that_xla_has_not_is_named_with_the_way_out() -> None:
    error = ev.ScriptError(
        t=T0 + 5,
        exception="InvalidArgumentError",
        message=XLA_REFUSES,
        file="/home/u/train.py",
        line=21,
        function="call",
    )
    ended = ev.RunEnded(t=T0 + 6, exit_code=1)
    state = state_of(start(), [error, ended])
    finding = found(state, "xla.unsupported_op")
    assert finding is not None and finding.knob == "jit_compile=off"
    assert finding.title == "XLA can't compile AsString in layer bucket: the training stopped at its first step"
    assert finding.lines[0] == "train.py:21 in call"
    assert found(state, "run.failed") is None, "it is the same"
    assert found(state_of(start(), [error]), "xla.unsupported_op") is None, "it may still be caught"
    asked = found(state_of(start(knobs={"jit_compile": "on"}), [error, ended]), "xla.unsupported_op")
    assert asked is not None and asked.knob is None and "Rerun without" in asked.next


def test_the_kernels_killer_is_named_only_where_it_was_counted() -> None:
    def killed(before: int | None, after: int | None, number: int = 9) -> Finding:
        samples: list[ev.Event] = [
            ev.HostSample(t=T0 + 2, tree_rss_bytes=GIB, oom_kills=before),
            ev.HostSample(t=T0 + 6, oom_kills=after),
        ]
        finding = found(state_of(start(), windows(5), samples, [ev.RunEnded(t=T0 + 6, signal=number)]), "run.killed")
        assert finding is not None
        return finding

    assert "out-of-memory killer" in killed(4, 5).title
    assert "SIGKILL" in killed(4, 4).title and "dmesg" not in killed(4, 4).next
    assert "dmesg" in killed(None, None).next
    assert "native library" in killed(4, 5, 11).next
    assert "SIGTERM" in killed(4, 5, 15).title


def test_the_report_holds_memory_side_by_side_with_reasons() -> None:
    told = ev.TfMemory(t=T0 + 2, devices=[{"device": "GPU:0", "current_bytes": 2 * GIB, "peak_bytes": 3 * GIB}])
    built = report_json.build(state_of(start(), gpu(others=GIB // 2), [told, failed(oom.FULL)], windows(5)))
    (one,) = built["memory"]["gpu"]
    assert one == {
        "device": "GPU:0",
        "tf_current_mib": 2048.0,
        "tf_peak_mib": 3072.0,
        "nvml_process_mib": 15 * 1024.0,
        "nvml_others_mib": 512.0,
        "nvml_used_mib": 15.5 * 1024,
        "nvml_total_mib": 16 * 1024.0,
        "limit_mib": None,
        "growth": None,
    }
    assert built["unknown"]["memory.gpu.0.limit_mib"] == "the script set no limit"
    assert "memory.gpu.0.growth" in built["unknown"]
    assert built["memory"]["out_of_memory"]["case"] == "full"
    bare = report_json.build(state_of(start(), [ev.Environment(t=T0, tf_gpus=[{"device": "GPU:0", "uuid": None}])]))
    empty = bare["memory"]["gpu"][0]
    missing = [name for name, value in empty.items() if value is None]
    assert missing and all(f"memory.gpu.0.{name}" in bare["unknown"] for name in missing)


def in_pieces(held_gib: float, growth: str = "on", allocator: str = "bfc") -> RunState:
    """A training on one GPU with memory growth, of whose memory 2 GiB were in use at most."""
    process: GpuProcess = {"pid": 4711, "memory_bytes": int(held_gib * 2**30), "ours": True}
    used = ev.TfMemory(t=T0 + 3, devices=[{"device": "GPU:0", "current_bytes": 1 << 30, "peak_bytes": 2 << 30}])
    settings = ev.Knobs(t=T0 + 2, in_force={"memory_growth": growth, "allocator": allocator})
    sample = gpus.samples(gpus.row(0, processes=[process]))
    return gpus.trained(gpus.machine(gpus.listed(0)), sample, [settings, used])


def test_memory_in_pieces_is_told_where_growth_alone_can_have_made_them() -> None:
    finding = found(in_pieces(9.0), "memory.fragmented")
    assert finding is not None and (finding.severity, finding.knob) == ("info", "allocator=cuda_malloc_async")
    assert finding.title.startswith("9.0 GiB of GPU 0 is held for 2.0 GiB")
    for healthy in (
        in_pieces(5.5),  # regions double in size
        in_pieces(9.0, growth="off"),  # all was taken at the start
        in_pieces(9.0, allocator="cuda_malloc_async"),
    ):
        assert found(healthy, "memory.fragmented") is None
    assert found(in_pieces(70.0), "memory.preallocated") is None, "the script's own growth, too, takes what it needs"
