"""Findings about GPUs: each appears with its signal, and a healthy run on one or several GPUs has none of them."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tests.journals import T0, evidence, start, state_of, windows
from tfgpu_tui.core import events as ev
from tfgpu_tui.core import knobs
from tfgpu_tui.core.rows import Facts, Gpu, GpuProcess, TensorflowGpu
from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose import Finding, diagnose
from tfgpu_tui.report.report_json import build

MIB = 2**20
TOTAL = 80_000 * MIB
FAMILY = ("gpu.", "memory.foreign", "run.multi_gpu_idle")


def uuid(index: int) -> str:
    return f"GPU-{index:08x}-0000-4000-8000-000000000000"


def row(index: int, **changes: Any) -> Gpu:
    """A GPU that this run works on."""
    return cast(
        Gpu,
        {
            "index": index,
            "uuid": uuid(index),
            "name": "NVIDIA H200",
            "pci": f"00000000:{index + 1:02X}:00.0",
            "busy_percent": 92,
            "memory_total_bytes": TOTAL,
            "memory_used_bytes": 70_000 * MIB,
            "power_w": 600.0,
            "sm_clock_mhz": 1980,
            "throttle": [],
            "processes": [{"pid": 4711, "memory_bytes": 69_000 * MIB, "busy_percent": 90, "ours": True}],
            **changes,
        },
    )


def listed(*indices: int) -> list[TensorflowGpu]:
    """TensorFlow's list of these GPUs."""
    return [
        {"device": f"GPU:{n}", "uuid": uuid(i), "pci": None, "name": "NVIDIA H200", "capability": [9, 0], "ordinal": n}
        for n, i in enumerate(indices)
    ]


FACTS: Facts = {
    "python": "3.11.7",
    "executable": "/env/bin/python",
    "distributions": {"tensorflow": "2.21.0"},
    "build": {
        "is_cuda_build": True,
        "cuda_version": "12.5.1",
        "cuda_compute_capabilities": ["sm_60", "sm_70", "sm_80", "sm_89", "compute_90"],
    },
    "libraries": {},
    "env": {},
    "module": "570.148.08",
    "driver_library": {"path": "/usr/lib/libcuda.so.1", "version": "570.148.08"},
    "pci": 1,
    "devices": 1,
}


def machine(tf_gpus: list[TensorflowGpu] | None, facts: dict[str, Any] | None = None, **more: Any) -> list[ev.Event]:
    """A machine with GPUs and the GPU build; `tf_gpus` is what TensorFlow lists, None before it was asked."""
    return [
        ev.Environment(t=T0, src="host", nvidia_devices=len(tf_gpus or ()) or 1),
        ev.Preflight(t=T0 + 0.1, src="host", facts=cast(Facts, {**FACTS, **(facts or {})})),
        ev.Environment(t=T0 + 1, src="agent", tensorflow_build="cuda 12.5.1", tf_gpus=tf_gpus, **more),
    ]


def samples(*rows: Gpu, seconds: int = 40) -> list[ev.Event]:
    return [ev.GpuSample(t=T0 + i / 2, gpus=list(rows), read_ms=1.0) for i in range(2 * seconds)]


def message(identity: str, level: str = "error", **values: str) -> ev.Diagnostic:
    return ev.Diagnostic(t=T0 + 2, src="child", id=identity, level=level, meaning=f"({identity})", values=values)


def trained(*parts: list[ev.Event]) -> RunState:
    """Half a minute of training, with these events before it."""
    return state_of(start(), *parts, windows(130))


def of_ours(state: RunState) -> list[Finding]:
    return [f for f in diagnose(state) if f.id.startswith(FAMILY)]


def ids(state: RunState) -> list[str]:
    return [f.id for f in of_ours(state)]


def test_one_healthy_gpu() -> None:
    assert of_ours(trained(machine(listed(0)), samples(row(0)))) == []


def test_several_healthy_gpus() -> None:
    rows = [row(i, busy_percent=90 - i, sm_clock_mhz=1980 - 15 * i) for i in range(4)]
    state = trained(machine(listed(0, 1, 2, 3)), [ev.Model(t=T0 + 1, name="m", replicas=4)], samples(*rows))
    assert of_ours(state) == []


def test_harmless_messages_are_no_finding() -> None:
    calm = [message("cudnn.version_unknown", "noise"), message("cudnn.loaded", "info"), message("xla.compiled", "info")]
    assert of_ours(trained(machine(listed(0)), samples(row(0)), list(calm))) == []


def test_a_cpu_run_on_a_machine_without_gpu_says_so_once() -> None:
    state = state_of(start(), windows(20))
    assert [(f.id, f.severity) for f in of_ours(state)] == [("gpu.none", "info")]


# Family A


@pytest.mark.parametrize(
    ("facts", "identity"),
    [
        ({"build": {"is_cuda_build": False}, "distributions": {"tensorflow_cpu": "2.21.0"}}, "gpu.cpu_build"),
        ({"libraries": {"cudnn": {"soname": "libcudnn.so.9", "path": None, "package": None}}}, "gpu.cuda_libs_missing"),
        (
            {
                "libraries": {
                    "cusolver": {"soname": "libcusolver.so.11", "path": None, "package": "/s/lib/libcusolver.so.11"}
                }
            },
            "gpu.cuda_libs_not_found",
        ),
        ({"driver_library": {"path": "/l/libcuda.so.1", "version": "570.86.10"}}, "gpu.driver"),
    ],
)
def test_a_cause_is_said_before_tensorflow_looks_and_confirmed_after(facts: dict[str, Any], identity: str) -> None:
    before = state_of(start(), machine(None, facts), samples(row(0, processes=[]), seconds=2))
    before.environment = ev.Environment(t=T0, nvidia_devices=1, tensorflow="2.21.0")
    (early,) = of_ours(before)
    assert (early.id, early.severity) == (identity, "warning")
    assert early.incomplete == "TensorFlow has not looked for its GPUs yet"
    (sure,) = of_ours(trained(machine([], facts), samples(row(0, processes=[]))))
    assert (sure.id, sure.severity, sure.incomplete) == (identity, "critical", None)
    assert sure.evidence["nvidia_devices"] == 1
    assert ids(trained(machine(listed(0), facts), samples(row(0)))) == [], "it lists one: then nothing was in the way"


def test_nothing_is_said_early_of_a_script_that_imports_no_tensorflow() -> None:
    facts = {"build": {"is_cuda_build": False}}
    state = state_of(start()[:4], machine(None, facts), samples(row(0, processes=[]), seconds=2))
    assert of_ours(state) == []


def test_what_a_script_can_still_undo_is_not_said_early() -> None:
    facts = {"env": {"CUDA_VISIBLE_DEVICES": "-1"}}
    state = state_of(start(), machine(None, facts), samples(row(0, processes=[]), seconds=2))
    state.environment = ev.Environment(t=T0, nvidia_devices=1, tensorflow="2.21.0")
    assert of_ours(state) == []
    hidden = trained(machine([], facts, visible_devices="-1"), samples(row(0, processes=[])))
    assert ids(hidden) == ["gpu.hidden"]


@pytest.mark.parametrize(
    ("heard", "identity", "words"),
    [
        (message("cuda.no_driver_library"), "gpu.driver", "libcuda.so.1"),
        (message("cuda.driver_mismatch"), "gpu.driver", "differ in version"),
        (message("cuda.kernel_mismatch", kernel="1", library="2"), "gpu.driver", "updated without a reboot"),
        (message("cuda.init_failed", error="CUDA_ERROR_X"), "gpu.driver", "does not start"),
        (message("cuda.no_device"), "gpu.hidden", "shows no GPU"),
        (message("cuda.library", library="libcufft.so.11"), "gpu.cuda_libs_missing", "can't be loaded"),
        (message("cuda.gpus_skipped"), "gpu.cuda_libs_missing", "left every GPU out"),
        (message("cuda.gpu_ignored", device="0", why="few cores"), "gpu.arch_unsupported", "leaves a GPU out"),
    ],
    ids=lambda x: x.id if isinstance(x, ev.Diagnostic) else None,
)
def test_tensorflows_own_messages_name_the_cause(heard: ev.Diagnostic, identity: str, words: str) -> None:
    (finding,) = of_ours(trained(machine([]), [heard], samples(row(0, processes=[]))))
    assert finding.id == identity
    assert words in finding.title
    assert heard.meaning in evidence(finding)["messages"]
    assert ids(trained(machine(listed(0)), [heard], samples(row(0)))) == []


def test_hidden_by_the_script_itself() -> None:
    (finding,) = of_ours(trained(machine([], physical_gpus=2), samples(row(0, processes=[]))))
    assert finding.id == "gpu.hidden"
    assert "set_visible_devices leaves none of 2" in finding.title
    (variable,) = of_ours(trained(machine([], visible_devices="-1"), samples(row(0, processes=[]))))
    assert variable.lines == ["the script itself, or a module that it imports, set it"]
    assert variable.knob is None


def test_hidden_by_a_knob_was_asked_for() -> None:
    run = start({"visible_devices": "none"})
    state = state_of(run, machine([], visible_devices="-1"), samples(row(0, processes=[])), windows(30))
    assert [(f.id, f.severity) for f in of_ours(state)] == [("gpu.hidden", "info")]


def test_hidden_from_outside_can_be_undone_by_a_knob() -> None:
    facts = {"env": {"CUDA_VISIBLE_DEVICES": ""}}
    (finding,) = of_ours(trained(machine([], facts, visible_devices=""), samples(row(0, processes=[]))))
    assert finding.knob == "visible_devices=0"
    assert knobs.parse([finding.knob]) == {"visible_devices": "0"}


def test_a_container_without_gpus_is_one_cause() -> None:
    facts = {"container": "docker", "devices": 0, "module": None, "driver_library": {"path": None, "version": None}}
    nothing: list[ev.Event] = [
        ev.GpuSample(t=T0 + 1, status="no_library", message="libnvidia-ml.so.1 is not installed")
    ]
    (finding,) = of_ours(trained(machine([], facts), nothing, [message("cuda.no_driver_library")]))
    assert finding.id == "gpu.hidden"
    assert "--gpus all" in finding.next


def test_no_gpu_and_no_witness_is_incomplete() -> None:
    (finding,) = of_ours(trained(machine([]), samples(row(0, processes=[]))))
    assert finding.id == "gpu.not_used"
    assert finding.incomplete


def test_the_driver_that_does_not_answer() -> None:
    broken: list[ev.Event] = [ev.GpuSample(t=T0 + 1, status="mismatch", message="570 and 580")]
    (finding,) = of_ours(trained(machine([]), broken))
    assert (finding.id, finding.lines) == ("gpu.driver", ["570 and 580"])


def test_cudnn_and_xla_of_a_gpu_that_is_used() -> None:
    cudnn = trained(machine(listed(0)), [message("cudnn.too_old", runtime="9.1.0", built="9.3.0")], samples(row(0)))
    assert [(f.id, f.severity) for f in of_ours(cudnn)] == [("gpu.cudnn_mismatch", "critical")]
    xla = trained(machine(listed(0)), [message("xla.no_libdevice"), message("xla.no_ptxas")], samples(row(0)))
    (finding,) = of_ours(xla)
    assert (finding.id, finding.knob) == ("gpu.xla_tools_missing", "jit_compile=off")
    assert finding.evidence["missing"] == ["libdevice", "ptxas"]


def test_compute_capability_of_the_gpu_that_is_used() -> None:
    new: list[TensorflowGpu] = [{**listed(0)[0], "capability": [12, 0], "name": "NVIDIA GeForce RTX 5090"}]
    (finding,) = of_ours(trained(machine(new), samples(row(0))))
    assert (finding.id, finding.severity) == ("gpu.arch_unsupported", "info")
    old: list[TensorflowGpu] = [{**listed(0)[0], "capability": [5, 2]}]
    (finding,) = of_ours(trained(machine(old), samples(row(0))))
    assert (finding.id, finding.severity) == ("gpu.arch_unsupported", "critical")
    heard = message("gpu.jit_from_ptx", "warning", capability="12.0")
    untold: list[TensorflowGpu] = [{**listed(0)[0], "capability": None}]
    assert ids(trained(machine(untold), [heard], samples(row(0)))) == ["gpu.arch_unsupported"]
    refused = of_ours(trained(machine(listed(0)), [message("gpu.ptx_refused")], samples(row(0))))
    assert [(f.id, f.severity) for f in refused] == [("gpu.arch_unsupported", "critical")]


# During the run


def lost(index: int) -> ev.GpuSample:
    others = [row(i) for i in range(2) if i != index]
    gone: Gpu = {"index": index, "uuid": uuid(index), "error": "the GPU is lost: it fell off the bus"}
    return ev.GpuSample(t=T0 + 41, gpus=[*others, gone])


def test_a_lost_gpu_of_ours_is_critical_and_the_others_are_offered() -> None:
    state = trained(machine(listed(0, 1)), samples(row(0), row(1)), [lost(0)])
    (finding,) = of_ours(state)
    assert (finding.id, finding.severity) == ("gpu.lost", "critical")
    assert "GPU 0" in finding.title and "fell off the bus" in finding.title
    assert finding.knob == f"visible_devices={uuid(1)}"
    assert knobs.parse([finding.knob]) == {"visible_devices": uuid(1)}
    again = trained(machine(listed(0, 1)), samples(row(0), row(1)), [lost(0)], samples(row(0), row(1)))
    assert of_ours(again) == [], "it came back"


def test_a_gpu_that_the_training_does_not_miss_only_lacks_its_numbers() -> None:
    hung = ev.GpuSample(t=T0 + 20, gpus=[{"index": 0, "uuid": uuid(0), "error": "has not answered for 4 s"}])
    early = samples(row(0), seconds=10)
    (finding,) = of_ours(trained(machine(listed(0)), early, [hung]))
    assert (finding.id, finding.severity, finding.knob) == ("gpu.lost", "warning", None)
    assert "goes on all the same" in finding.lines[0]


def test_a_lost_gpu_of_others_is_information() -> None:
    idle = row(1, processes=[], busy_percent=0)
    (finding,) = of_ours(trained(machine(listed(0)), samples(row(0), idle), [lost(1)]))
    assert (finding.id, finding.severity, finding.knob) == ("gpu.lost", "info", None)


def foreign(mib: int, busy: float | None = 0.0) -> list[GpuProcess]:
    other: GpuProcess = {"pid": 99, "name": "python3", "memory_bytes": mib * MIB, "busy_percent": busy, "ours": False}
    return [*(row(0)["processes"] or ()), other]


@pytest.mark.parametrize(
    ("mib", "busy", "severity"),
    [(200, 0.0, None), (3000, 0.0, None), (6000, 0.0, "info"), (30_000, 0.0, "warning"), (200, 35.0, "warning")],
)
def test_memory_that_others_hold(mib: int, busy: float, severity: str | None) -> None:
    found = of_ours(trained(machine(listed(0)), samples(row(0, processes=foreign(mib, busy)))))
    assert [(f.id, f.severity) for f in found] == ([("memory.foreign", severity)] if severity else [])
    if found:
        assert found[0].lines[0].startswith("process 99 (python3)")
        assert found[0].evidence["foreign_mib"] == mib


def test_little_foreign_memory_matters_once_memory_ran_out() -> None:
    oom = message("memory.oom", allocator="GPU_0_bfc", size="4GiB")
    (finding,) = (
        f
        for f in of_ours(trained(machine(listed(0)), [oom], samples(row(0, processes=foreign(5000)))))
        if f.id == "memory.foreign"
    )
    assert finding.severity == "warning"


def test_a_free_gpu_is_offered_instead_of_a_shared_one() -> None:
    rows = (row(0, processes=foreign(30_000)), row(1, processes=[], busy_percent=0))
    (finding,) = of_ours(trained(machine(listed(0)), samples(*rows)))
    assert finding.knob == f"visible_devices={uuid(1)}"


def test_processes_of_another_namespace_are_not_called_foreign() -> None:
    unknown = [{"pid": 99, "memory_bytes": 60_000 * MIB, "ours": None}]
    assert of_ours(trained(machine(listed(0)), samples(row(0, processes=unknown)))) == []


def test_gpus_that_tensorflow_took_and_left_idle() -> None:
    idle = [row(i, busy_percent=0) for i in range(1, 4)]
    (finding,) = of_ours(trained(machine(listed(0, 1, 2, 3)), samples(row(0), *idle)))
    assert finding.id == "run.multi_gpu_idle"
    assert finding.title.startswith("3 of the 4 GPUs")
    assert finding.evidence["idle"] == [1, 2, 3]
    assert "MirroredStrategy" in finding.next
    alone = trained(machine(listed(0)), samples(row(0), *[row(i, busy_percent=0, processes=[]) for i in range(1, 4)]))
    assert of_ours(alone) == [], "GPUs that TensorFlow does not list are not this run's business"
    waiting = trained(machine(listed(0, 1)), samples(row(0, busy_percent=4), row(1, busy_percent=1)))
    assert of_ours(waiting) == [], "where no GPU works, something else is the matter"


def test_a_slow_gpu_among_replicas() -> None:
    model: list[ev.Event] = [ev.Model(t=T0 + 1, name="m", replicas=2)]
    hot = row(1, sm_clock_mhz=990, throttle=["thermal (hardware)"])
    (finding,) = of_ours(trained(machine(listed(0, 1)), model, samples(row(0), hot)))
    assert finding.id == "run.multi_gpu_idle"
    assert "GPU 1 runs at 990 MHz" in finding.title
    assert finding.lines == ["held down by: thermal (hardware)"]
    capped = row(1, sm_clock_mhz=1900, throttle=["power cap"])
    assert of_ours(trained(machine(listed(0, 1)), model, samples(row(0), capped))) == []


# The report


def test_the_report_tells_messages_mapping_and_cost() -> None:
    created = message("gpu.created", "info", device="GPU:0", pci="0000:01:00.0")
    report = build(trained(machine(listed(0), messages_from="terminal"), [created], samples(row(0))))
    (gpu,) = report["environment"]["gpus"]
    assert (gpu["nvml_index"], len(gpu["proofs"]), gpu["doubt"]) == (0, 3, None)
    assert [d["id"] for d in report["environment"]["diagnostics"]] == ["gpu.created"]
    assert report["gpus"][0]["tf_devices"] == ["GPU:0"]
    assert report["monitor"]["gpu_read_ms"] == {"mean": 1.0, "max": 1.0, "samples": 80}


@pytest.mark.parametrize(("source", "known"), [("terminal", True), ("file", True), ("nowhere", False), (None, False)])
def test_messages_that_could_not_be_read_are_unknown_not_none(source: str | None, known: bool) -> None:
    report = build(trained(machine([], messages_from=source), samples(row(0, processes=[]))))
    assert report["environment"]["diagnostics"] == ([] if known else None)
    assert ("environment.diagnostics" in report["unknown"]) is not known
