"""For each finding of the register two journals: one in which it stands, and the nearest healthy one, in which it does
not. They differ in the one fact that the finding is about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.journals import SLOW_MAP, T0, pipeline, start, state_of, steps, windows
from tests.unit import test_diagnose as common
from tests.unit import test_diagnose_gpu as gpus
from tests.unit import test_diagnose_placement as places
from tests.unit import test_fleet as job
from tests.unit import test_gpu_growth as gpu_growths
from tests.unit import test_host_findings as hosts
from tests.unit import test_host_growth as growths
from tests.unit import test_input_findings as inputs
from tests.unit import test_memory_findings as memories
from tests.unit import test_stalled as stalls
from tfgpu_tui.core import events as ev
from tfgpu_tui.core import fleet, knobs, rows
from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose import diagnose, ranks
from tfgpu_tui.diagnose.register import REGISTER

Journal = Callable[[], RunState]
ENDED: list[ev.Event] = [ev.RunEnded(t=T0 + 90, exit_code=0)]
FAILED: list[ev.Event] = [ev.RunEnded(t=T0 + 90, exit_code=1)]


def on_gpu(facts: dict[str, Any] | None = None, *more: ev.Event, **environment: Any) -> RunState:
    """A training on the one GPU of its machine."""
    one = gpus.machine(gpus.listed(0), facts, **environment)
    return gpus.trained(one, list(more), gpus.samples(gpus.row(0)))


def off_gpu(facts: dict[str, Any] | None = None, *more: ev.Event, **environment: Any) -> RunState:
    """The same machine; TensorFlow lists no GPU."""
    none = gpus.machine([], facts, **environment)
    return gpus.trained(none, list(more), gpus.samples(gpus.row(0, processes=[])))


def short_epochs(planned: int, done: int) -> RunState:
    ends = [
        ev.Epoch(t=T0 + n, state="end", epoch=n, epochs=3, steps=done, planned=planned, stopped=False, fit=1)
        for n in (1, 2, 3)
    ]
    return state_of(start(), [ev.Dataset(t=T0, kind="tf.data"), *ends])


def imports(numpy: str) -> RunState:
    """A script whose TensorFlow does not import, beside this version of NumPy."""
    facts: rows.Facts = {
        "distributions": {"tensorflow_cpu": "2.16.2", "numpy": numpy},
        "needed": {"numpy": "<2.0.0,>=1.23.5"},
    }
    looked = ev.Preflight(t=T0, facts=facts)
    error = ev.ScriptError(t=T0 + 1, exception="ImportError", message="numpy.core.umath failed to import", line=1)
    return state_of(start(), [looked, error, ev.RunEnded(t=T0 + 2, exit_code=1)])


def cluster(workers: int, flavour: str = "keras3") -> RunState:
    """A fit over so many workers that failed before its first step."""
    strategy = "CollectiveAllReduceStrategy"
    data = ev.Dataset(t=T0 + 2, src="agent", kind="tf.data", strategy=strategy, strategy_workers=workers)
    keras = ev.Environment(t=T0 + 2, src="agent", keras="3.15.1", keras_flavour=flavour)
    message = "Attempt to convert a value (PerReplica:{…}) with an unsupported type"
    error = ev.ScriptError(t=T0 + 3, exception="ValueError", message=message, file="/home/u/train.py", line=17)
    return state_of(start(), [keras, data, error, *FAILED])


def loss(value: float | str) -> RunState:
    return state_of(start(), windows(2), [ev.Metrics(t=T0 + 9, step=20, values={"loss": value})])


def capable(*capability: int) -> RunState:
    """A training on a GPU of that compute capability."""
    listed = gpus.listed(0)
    listed[0]["capability"] = list(capability)
    return gpus.trained(gpus.machine(listed), gpus.samples(gpus.row(0)))


def clocked(mhz: int, throttle: list[str], **more: Any) -> RunState:
    """A training on one GPU at this clock, of 1980 MHz at most."""
    one = gpus.row(0, sm_clock_mhz=mhz, sm_clock_max_mhz=1980, throttle=throttle, **more)
    return gpus.trained(gpus.machine(gpus.listed(0)), gpus.samples(one))


def linked(lanes: int, generation: int = 5, **more: Any) -> RunState:
    """A training on one GPU whose PCIe link has so many lanes, of 16."""
    best = {"pcie_generation_max": 5, "pcie_width_max": 16}
    one = gpus.row(0, pcie_generation=generation, pcie_width=lanes, **best, **more)
    return gpus.trained(gpus.machine(gpus.listed(0)), gpus.samples(one))


def two_gpus(*last: list[ev.Event], **second: Any) -> RunState:
    both = gpus.samples(gpus.row(0), gpus.row(1, **second))
    return gpus.trained(gpus.machine(gpus.listed(0, 1)), both, *last)


def shared(mib: int) -> RunState:
    return gpus.trained(gpus.machine(gpus.listed(0)), gpus.samples(gpus.row(0, processes=gpus.foreign(mib))))


def layer(**more: Any) -> RunState:
    """A layer on a GPU, beside a healthy one."""
    return places.run(places.row(), places.row("other", **more))


def off(why: str, op: str, dtype: str | None = None) -> RunState:
    return layer(not_on_gpu=[places.cause(why, op, dtype=dtype)])


def precise(policy: str) -> RunState:
    return places.run(places.row(policy=policy), extra=places.gpu_seen([9, 0], 90.0))


def multiplied(**ms: float) -> RunState:
    """A step of 10 ms on one GPU, whose products took so long on which cores."""
    kernels = {"tensor_cores": "sm80_xmma_tf32f32_tensor16x8x8", "plain": "cutlass_80_simt_sgemm_128x32"}
    products: list[rows.ProductTime] = [
        {"kernel": kernels[how], "arithmetic": how.replace("_", " "), "layer": "conv", "ms": value}
        for how, value in ms.items()
    ]
    arithmetic = {row["arithmetic"]: row["ms"] for row in products}
    looked = ev.LayerTimes(t=T0 + 9, whole_steps=3, step_ms=10.0, products=products, arithmetic=arithmetic)
    return places.run(places.row(), extra=[*places.gpu_seen([9, 0], 90.0), looked])


def copying(alone_ms: float, size: float = 38e6) -> RunState:
    """A step of 10 ms on one GPU, of which a copy of the batch takes 4.5."""
    copy: rows.CopyTime = {
        "direction": "host to device", "device": "GPU:0", "ms": 4.5, "alone_ms": alone_ms, "bytes": size,
        "pageable_bytes": size, "runs": 2.0,
    }  # fmt: skip
    looked = ev.LayerTimes(t=T0 + 9, whole_steps=3, step_ms=10.0, copies=[copy])
    data = ev.Dataset(t=T0 + 2, kind="tf.data", elements=[{"dtype": "float32", "shape": [64, 224, 224, 3]}])
    link = gpus.samples(gpus.row(0, pcie_generation=5, pcie_width=16))
    return gpus.trained(gpus.machine(gpus.listed(0)), link, [data, looked])


def exchanging(ms: float) -> RunState:
    """Two replicas whose step of 10 ms spends so long in collectives."""
    parts = {"forward": 2.0, "backward": 3.0, "collectives": ms}
    reduce: rows.OpTime = {"op": "CollectiveReduceV2", "part": "collectives", "ms": ms, "runs": 2.0}
    looked = ev.LayerTimes(t=T0 + 9, whole_steps=3, step_ms=10.0, parts=parts, ops=[reduce])
    model = ev.Model(t=T0 + 2, name="m", replicas=2, parameters=40_000_000)
    return state_of(start(), windows(20), [model, looked])


def waits(*parts: list[ev.Event], share: float = 0.6) -> RunState:
    return inputs.run(*parts, wait=share)


def cores(used: float, **more: Any) -> RunState:
    two = ev.Environment(t=T0 + 1, cpu_count=2)
    return waits([two], pipeline(inputs.PARALLEL), inputs.host(used, **more))


def reads(bytes_per_s: float) -> RunState:
    return waits(pipeline({**inputs.NATIVE, "reads": True}), inputs.host(0.4, disk_read_bps=bytes_per_s))


def workers(count: int) -> RunState:
    dataset = ev.Dataset(t=T0 + 2, kind="pydataset", workers=count)
    return waits([dataset], pipeline(inputs.GENERATOR), inputs.host(1.0))


def begins(pause_s: float, *stages: rows.Stage) -> RunState:
    return state_of(start(), [inputs.DATA], pipeline(*stages), inputs.epochs(5, pause_s))


def copied(size: int) -> RunState:
    return state_of(start(), [ev.ArrayCopy(t=T0 + 2, device="GPU:0", array_bytes=size, grown_bytes=size)])


def called_back(seconds: float) -> RunState:
    return state_of(start(), [steps(3 + i, 25, 10, host=0.6, callbacks={"Log": seconds}) for i in range(10)])


def switched(*events: ev.Event) -> RunState:
    return state_of(start(), list(events), windows(10))


def failing(exception: str, message: str, ended: list[ev.Event]) -> RunState:
    error = ev.ScriptError(t=T0 + 5, exception=exception, message=message, file="/home/u/train.py", line=17)
    return state_of(start(), windows(5), [error, *ended])


def grown(a_step: float) -> RunState:
    points = growths.points(lambda step: a_step * step)
    return state_of(start(), windows(40), [ev.ProcessMemory(t=T0 + 5, src="agent", pid=4711, points=points)])


def gpu_grown(a_step: float) -> RunState:
    return gpu_growths.run(lambda step: a_step * step, swing=64 << 20)


def unrolled(seconds: float) -> RunState:
    """Of 10 s in all, so long in tracing a loop of 80 turns."""
    loop = ev.UnrolledLoop(
        t=T0 + 5, function="call", file="/home/u/train.py", line=31, text="for i in range(80):", copies=80, share=0.9,
        ops=7468, traces=2, seconds=seconds,
    )  # fmt: skip
    return state_of(start(), [loop], [ev.HostSample(t=T0 + 10)])


def in_graph(seconds: float) -> RunState:
    """A metric in NumPy that took so long in 250 steps of 40 ms."""
    called: rows.GraphFunction = {
        "name": "score", "kind": "numpy_function", "file": "/home/u/train.py", "line": 12, "at": "train.py:20",
        "calls": 250, "seconds": seconds,
    }  # fmt: skip
    return state_of(start(), windows(10), [ev.GraphPython(t=T0 + 9, steps=250, functions=[called])])


def looked(parts: dict[str, float], **more: Any) -> list[ev.Event]:
    """Steps of 10 ms that are nearly all compute, and a look inside."""
    times = ev.LayerTimes(
        t=T0 + 9, src="agent", steps=4, whole_steps=4, step_ms=10.0, compute_ms=sum(parts.values()), parts=parts, **more
    )
    return [*windows(10), times]


def one_by_one(turns: float) -> RunState:
    """A layer that takes 4 of 9.5 ms, and whose loop turns so often; the batch has 32 examples."""
    layers = {"one_by_one": {"forward": 3.0, "runtime": 1.0}, "dense": {"forward": 2.0}}
    parts = {"forward": 5.0, "backward": 3.5, "runtime": 1.0}
    placed = ev.Placement(t=T0 + 4, layers=[places.row(layer=name) for name in layers], ops=5, predicted=True)
    return state_of(start(), [placed], looked(parts, by_layer=layers, turns={"one_by_one": turns}))


def sparse_update(slots: int) -> RunState:
    """An update of a table of which a step looks up 640 of 100,000 rows; the optimizer has so many slots for it."""
    table: rows.SparseUpdate = {
        "variable": "embedding/embeddings", "rows": 100_000, "elements": 6_400_000, "touched": 640, "slots": slots,
    }  # fmt: skip
    told = ev.Optimizer(t=T0 + 2, name="adam", cls="Adam", variables=3, parameters=6_400_129, sparse=[table])
    update: list[rows.OpTime] = [{"op": "Mul", "part": "optimizer", "ms": 6.0, "runs": 12.0}]
    return state_of(start(), [told], looked({"forward": 2.0, "optimizer": 7.5}, ops=update))


def half_on_cpu(*able: str) -> RunState:
    """A layer in float16 on a CPU that has arithmetic for these."""
    machine = ev.Environment(t=T0, src="host", cpu_half=[*able])
    on_cpu = places.row(dtype="float16", policy="mixed_float16", forward={"CPU:0": 2}, backward={"CPU:0": 3})
    placed = ev.Placement(t=T0 + 4, layers=[on_cpu], ops=5, predicted=True)
    return state_of(start(), [machine], windows(10), [placed])


def closing(seconds: float) -> RunState:
    exiting = ev.Phase(t=T0 + 8, src="agent", phase="exiting")
    return state_of(start(), windows(5), [exiting, ev.HostSample(t=T0 + 8 + seconds)])


def backend(name: str) -> RunState:
    return state_of(start(), [ev.Environment(t=T0 + 2, src="agent", backend=name)], windows(10))


OOM = "OOM when allocating tensor with shape[8,9] and type float on /device:GPU:0 by allocator GPU_0_bfc"
OLD = "'Sequential' object has no attribute 'fit_generator'"
LATE = "set_memory_growth(True) at train.py:9 came too late: Physical devices cannot be modified"
CPU_BUILD = {"build": {"is_cuda_build": False}, "distributions": {"tensorflow_cpu": "2.21.0"}}
NO_CUDNN = {"libraries": {"cudnn": {"soname": "libcudnn.so.9", "path": None, "package": None}}}
GAP = {"libraries": {"cusolver": {"soname": "libcusolver.so.11", "path": None, "package": "/s/libcusolver.so.11"}}}
MISMATCH = {"driver_library": {"path": "/l/libcuda.so.1", "version": "570.86.10"}}
DEBUGS = ev.DebugSwitch(t=T0, name="check_numerics", on=True, place="train.py:3")
QUICK: rows.Stage = {"stage": "TensorSlice", "per_batch_us": 10.0}


def account_of(fit_start_s: float) -> RunState:
    """A run of some steps that fit prepared for so long."""
    spent = {"importing": 4.0, "preparing": fit_start_s, "fit": 6.0}
    end = 1.0 + sum(spent.values())
    journal = [
        ev.Phase(t=T0 + 1, pid=4711, phase="importing", part="importing"),
        ev.Phase(t=T0 + end, pid=4711, phase="idle", part="idle", spent_s=spent),
        ev.RunEnded(t=T0 + end, exit_code=0, wall_s=end),
    ]
    return state_of(start()[:-1], windows(20), journal)


def first_run(seconds: float) -> RunState:
    """A run of a minute whose step took so long when it first ran."""
    told = ev.FirstRun(t=T0 + 9, pid=4711, function="step", file="/home/u/train.py", line=9, count=1, wall_s=seconds,
                       tracing_s=2.0, wait_s=0.5)  # fmt: skip
    return state_of(start(), windows(40), [told, ev.RunEnded(t=T0 + 60, exit_code=0, wall_s=60.0)])


PAIRS: dict[str, tuple[Journal, Journal]] = {
    # finding: (it stands, it does not)
    "gpu.none": (lambda: state_of(start(), windows(20)), on_gpu),
    "gpu.not_used": (off_gpu, on_gpu),
    "gpu.cpu_build": (lambda: off_gpu(CPU_BUILD), lambda: off_gpu()),
    "gpu.hidden": (lambda: off_gpu(visible_devices="-1"), lambda: off_gpu(visible_devices="0")),
    "gpu.driver": (lambda: off_gpu(MISMATCH), lambda: on_gpu(MISMATCH)),
    "gpu.cuda_libs_missing": (lambda: off_gpu(NO_CUDNN), lambda: on_gpu(NO_CUDNN)),
    "gpu.cuda_libs_not_found": (lambda: off_gpu(GAP), lambda: on_gpu(GAP)),
    "gpu.arch_unsupported": (lambda: capable(12, 0), lambda: capable(9, 0)),
    "gpu.cudnn_mismatch": (
        lambda: on_gpu(None, gpus.message("cudnn.too_old", runtime="9.1.0", built="9.3.0")),
        lambda: on_gpu(None, gpus.message("cudnn.loaded", "info")),
    ),
    "gpu.xla_tools_missing": (
        lambda: on_gpu(None, gpus.message("xla.no_libdevice")),
        lambda: on_gpu(None, gpus.message("xla.compiled", "info")),
    ),
    "gpu.lost": (
        lambda: two_gpus([gpus.lost(0)]),
        lambda: two_gpus([gpus.lost(0)], gpus.samples(gpus.row(0), gpus.row(1))),
    ),
    "gpu.throttled": (lambda: clocked(1200, ["thermal (hardware)"]), lambda: clocked(1900, ["thermal (hardware)"])),
    "gpu.link_degraded": (lambda: linked(8), lambda: linked(16)),
    "place.pinned_cpu": (
        lambda: layer(asked="CPU:0", forward={"CPU:0": 2}, not_on_gpu=[places.cause("pinned", "MatMul")]),
        lambda: layer(asked="GPU:0", forward={"GPU:0": 2}),
    ),
    "place.no_gpu_kernel": (lambda: off("no_gpu_kernel", "AsString"), lambda: off("host_memory", "AddV2")),
    "place.dtype_no_kernel": (
        lambda: off("dtype_no_kernel", "Bincount", "float64"), lambda: off("host_memory", "AddV2"),
    ),
    "place.soft_moved": (
        lambda: layer(asked="GPU:3", forward={"CPU:0": 2}), lambda: layer(asked="GPU:3", forward={"GPU:3": 2}),
    ),
    "place.split": (
        lambda: layer(variables=["CPU:0"], variable_copies=2), lambda: layer(variables=["GPU:0"], variable_copies=2),
    ),
    "dtype.float64": (lambda: layer(float64_ops=4), lambda: layer(float64_ops=0)),
    "rnn.not_cudnn": (
        lambda: layer(recurrent={"cudnn": False, "blocked_by": ["unroll=True"]}),
        lambda: layer(recurrent={"cudnn": True, "blocked_by": []}),
    ),
    "precision.unused_tensor_cores": (lambda: precise("float32"), lambda: precise("mixed_bfloat16")),
    "precision.slow_on_cpu": (lambda: half_on_cpu(), lambda: half_on_cpu("float16")),
    "input.bound": (lambda: waits(share=0.3), lambda: waits(share=0.03)),
    "input.slow_stage": (
        lambda: waits(pipeline(inputs.NATIVE), inputs.host(1.4)),
        lambda: waits(pipeline(inputs.PARALLEL), inputs.host(1.4)),
    ),
    "input.python": (
        lambda: waits(pipeline(SLOW_MAP), inputs.host(1.0)), lambda: waits(pipeline(inputs.NATIVE), inputs.host(1.0)),
    ),
    "input.pydataset_single": (lambda: workers(1), lambda: workers(4)),
    "input.no_prefetch": (
        lambda: waits(inputs.without_prefetch(autotune=False)), lambda: waits(inputs.without_prefetch(autotune=None)),
    ),
    "input.storage": (lambda: reads(3e6), lambda: reads(0.0)),
    "input.cpu_starved": (lambda: cores(1.95), lambda: cores(1.2)),
    "input.shuffle_refill": (lambda: begins(0.4, inputs.SHUFFLE), lambda: begins(0.05, inputs.SHUFFLE)),
    "input.epoch_start": (lambda: begins(0.4, QUICK), lambda: begins(0.05, QUICK)),
    "input.whole_array_on_gpu": (lambda: copied(3 << 30), lambda: copied(20 << 20)),
    "input.copy_bound": (lambda: copying(alone_ms=4.0), lambda: copying(alone_ms=0.4)),
    "input.ran_out": (lambda: short_epochs(60, 40), lambda: short_epochs(40, 40)),
    "input.hidden": (
        lambda: state_of(start(), common.gpu(96.0), windows(20, wait=0.4)),
        lambda: state_of(start(), common.gpu(30.0), windows(20, wait=0.4)),
    ),
    "host.callbacks": (lambda: called_back(0.14), lambda: called_back(0.01)),
    "host.python": (
        lambda: state_of(start(), windows(10, host=0.4, loop="custom")),
        lambda: state_of(start(), windows(10, host=0.04, loop="custom")),
    ),
    "host.eager": (
        lambda: state_of(start(), windows(10, loop="eager")), lambda: state_of(start(), windows(10, loop="custom")),
    ),
    "host.launch_bound": (
        lambda: state_of(start(), hosts.on_gpu(22.0, 99.0), windows(20, step_ms=2.5)),
        lambda: state_of(start(), hosts.on_gpu(80.0, 99.0), windows(20, step_ms=2.5)),
    ),
    "host.retracing": (
        lambda: state_of(start(), hosts.retraced()), lambda: state_of(start(), hosts.retraced(until=4)),
    ),
    "host.xla_recompile": (
        lambda: state_of(start(), hosts.compiling()), lambda: state_of(start(), hosts.compiling(shape=[None, 16])),
    ),
    "host.validation": (
        lambda: state_of(start(), hosts.epochs(4, 0.6)), lambda: state_of(start(), hosts.epochs(4, 0.2)),
    ),
    "host.fit_in_loop": (
        lambda: state_of(start(), hosts.fits(20, 0.4, 10)), lambda: state_of(start(), hosts.fits(20, 4.0, 300)),
    ),
    "host.predict_in_loop": (
        lambda: state_of(start(), windows(40), hosts.predicts(40, 0.1)),
        lambda: state_of(start(), windows(40), hosts.predicts(40, 0.01)),
    ),
    "host.debugging": (
        lambda: switched(DEBUGS),
        lambda: switched(DEBUGS, ev.DebugSwitch(t=T0 + 1, name="check_numerics", on=False, place="train.py:9")),
    ),
    "host.determinism": (
        lambda: switched(replace(DEBUGS, name="op_determinism")),
        lambda: switched(replace(DEBUGS, name="op_determinism"), replace(DEBUGS, name="op_determinism", on=False)),
    ),
    "compute.unrolled": (lambda: unrolled(6.0), lambda: unrolled(0.5)),
    "compute.python": (lambda: in_graph(5.0), lambda: in_graph(0.2)),
    "compute.layer": (lambda: one_by_one(32.0), lambda: one_by_one(8.0)),
    "compute.optimizer": (lambda: sparse_update(2), lambda: sparse_update(0)),
    "compute.collectives": (lambda: exchanging(4.0), lambda: exchanging(1.0)),
    "memory.preallocated": (lambda: common.reserved({}), lambda: common.reserved({}, peak=120 << 30)),
    "memory.fragmented": (lambda: memories.in_pieces(9.0), lambda: memories.in_pieces(3.0)),
    "memory.foreign": (lambda: shared(30_000), lambda: shared(200)),
    "memory.oom": (
        lambda: failing("ResourceExhaustedError", OOM, FAILED),
        lambda: failing("ResourceExhaustedError", "too many open files", FAILED),
    ),
    "memory.growth_overridden": (lambda: memories.growth("off", {}, note=LATE), lambda: memories.growth("on", {})),
    "memory.host_growth": (lambda: grown(256 << 10), lambda: grown(0.0)),
    "memory.gpu_growth": (lambda: gpu_grown(256 << 10), lambda: gpu_grown(0.0)),
    "run.failed": (lambda: failing("ValueError", "bad", FAILED), lambda: failing("ValueError", "bad", ENDED)),
    "run.killed": (
        lambda: state_of(start(), windows(5), [ev.RunEnded(t=T0 + 90, signal=9)]),
        lambda: state_of(
            start(), windows(5), [ev.Stopping(t=T0 + 80, stage="kill"), ev.RunEnded(t=T0 + 90, signal=9)]
        ),
    ),
    "run.legacy_api": (
        lambda: failing("AttributeError", OLD, FAILED), lambda: failing("AttributeError", OLD, ENDED),
    ),
    "xla.unsupported_op": (
        lambda: failing("InvalidArgumentError", memories.XLA_REFUSES, FAILED),
        lambda: failing("InvalidArgumentError", memories.XLA_REFUSES, []),
    ),
    "run.broken_environment": (
        lambda: imports("2.2.6"), lambda: imports("1.26.4"),
    ),
    "run.multi_worker_keras3": (lambda: cluster(2), lambda: cluster(1)),
    "run.nan_loss": (lambda: loss("nan"), lambda: loss(0.5)),
    "run.slow_exit": (lambda: closing(32.0), lambda: closing(8.0)),
    "run.outside_training": (lambda: account_of(41.0), lambda: account_of(8.0)),
    "run.slow_start": (lambda: first_run(45.0), lambda: first_run(12.0)),
    "run.stalled": (
        lambda: stalls.standing(stalls.stacks(), stalls.look()),
        lambda: stalls.standing(stalls.stacks(), stalls.look(still_s=2.0)),
    ),
    "run.other_backend": (lambda: backend("jax"), lambda: backend("tensorflow")),
    "run.no_steps": (lambda: state_of(start(), ENDED), lambda: state_of(start(), windows(2), ENDED)),
    "run.multi_gpu_idle": (lambda: two_gpus(busy_percent=0), lambda: two_gpus()),
}  # fmt: skip


Ranks = Callable[[], list[fleet.Row]]
RANKS: dict[str, tuple[Ranks, Ranks]] = {
    "run.straggler_input": (lambda: job.four(0.2, 5.0, 0.2, 0.2), lambda: job.four(5.0, 5.0, 5.0, 5.0)),
    "run.straggler_host": (lambda: slow_hosts(0.5, 4.0, 0.5), lambda: slow_hosts(4.0, 4.0, 4.0)),
    "run.rank_silent": (lambda: quiet(1.0, 45.0), lambda: quiet(1.0, 5.0)),
}
"""Those that are about the ranks of a job side by side."""


def slow_hosts(*host_ms: float) -> list[fleet.Row]:
    return [job.row_of(job.trained(rank, host_ms=ms)) for rank, ms in enumerate(host_ms)]


def quiet(*seconds: float) -> list[fleet.Row]:
    return [job.row_of(job.trained(rank), quiet_s=quiet_s) for rank, quiet_s in enumerate(seconds)]


@pytest.mark.parametrize("name", RANKS)
def test_of_ranks_it_stands_with_its_signal_and_not_without(name: str) -> None:
    ill, healthy = RANKS[name]
    assert [finding.id for finding in ranks.findings(ill())] == [name]
    assert name not in [finding.id for finding in ranks.findings(healthy())]


def test_each_finding_has_its_two_journals() -> None:
    assert [*PAIRS, *RANKS] == list(REGISTER), "in the order of the register"


@pytest.mark.parametrize("name", PAIRS)
def test_it_stands_with_its_signal_and_not_without(name: str) -> None:
    ill, healthy = PAIRS[name]
    found = [f for f in diagnose(ill()) if f.id == name]
    assert len(found) == 1
    assert name not in [f.id for f in diagnose(healthy())]


@pytest.mark.parametrize("name", PAIRS)
def test_the_register_knows_the_settings_that_the_findings_offer(name: str) -> None:
    for finding in diagnose(PAIRS[name][0]()):
        if finding.knob is not None:
            assert knobs.parse([finding.knob])
            known = {knob.partition("=")[0] for knob in REGISTER[finding.id].knobs}
            assert finding.knob.partition("=")[0] in known, finding.id
