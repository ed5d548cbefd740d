"""Family C: each cause of waiting for input is named by its own signal, and only by that."""

from __future__ import annotations

from typing import Any

import pytest

from tests.journals import SLOW_MAP, T0, evidence, pipeline, start, state_of, windows
from tfgpu_tui.core import events as ev
from tfgpu_tui.core.rows import Gpu, ReadFolder, Stage, UserFunction
from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose import Finding, diagnose

GENERATOR: Stage = {**SLOW_MAP, "stage": "Generator", "name": "Generator rows", "function": "rows"}
NATIVE: Stage = {**SLOW_MAP, "python": False}
PARALLEL: Stage = {**NATIVE, "stage": "ParallelMapV2", "parallelism": 4}


def ids(state: RunState) -> list[str]:
    return [f.id for f in diagnose(state) if f.id.startswith("input.")]


def the(finding_id: str, state: RunState) -> Finding:
    return next(f for f in diagnose(state) if f.id == finding_id)


def host(cores: float, **more: Any) -> list[ev.Event]:
    """Samples of the host through all of the training, which uses so many cores."""
    return [ev.HostSample(t=T0 + i / 2, tree_cpu_percent=cores * 100, **more) for i in range(40)]


def run(*parts: list[ev.Event], wait: float = 0.6) -> RunState:
    return state_of(start(), *parts, windows(20, wait=wait))


def test_a_serial_map_is_the_slow_stage_and_can_be_tried_in_parallel() -> None:
    state = run(pipeline(NATIVE), host(1.4))
    assert ids(state) == ["input.bound", "input.slow_stage"]
    finding = the("input.slow_stage", state)
    assert (finding.severity, finding.knob) == ("warning", "input=parallel")
    assert "load_image (data.py:41)" in finding.title
    assert evidence(finding)["stage"]["per_batch_ms"] == 6.4
    bound = the("input.bound", state)
    assert (bound.next, bound.knob) == (finding.next, finding.knob)


def test_a_map_that_is_parallel_is_not_called_serial() -> None:
    assert ids(run(pipeline(PARALLEL), host(1.0))) == ["input.bound"]


def test_a_stage_that_takes_a_small_part_is_not_to_blame() -> None:
    many: list[Stage] = [{**NATIVE, "name": f"Map f{i}", "per_batch_us": 100.0 + i} for i in range(4)]
    assert ids(run(pipeline(*many), host(1.0))) == ["input.bound"]


def test_python_that_computes_is_told_from_python_that_waits() -> None:
    busy = run(pipeline(SLOW_MAP), host(1.0))
    assert ids(busy) == ["input.bound", "input.python"]
    assert "TensorFlow ops" in the("input.python", busy).next
    waits = run(pipeline(SLOW_MAP), host(0.5))
    assert ids(waits) == ["input.bound", "input.slow_stage"]
    assert evidence(the("input.slow_stage", waits))["idle_share_of_wait"] > 0.5


def test_a_function_may_have_waited_for_a_core_where_all_are_busy() -> None:
    unsure = the("input.python", run(pipeline(SLOW_MAP), host(0.5, cores_percent=[99.0, 98.0])))
    assert unsure.incomplete
    assert unsure.knob == "input=parallel"  # one rerun tells what the numbers can't


def test_a_generator_is_python_with_the_time_of_a_call() -> None:
    user: UserFunction = {
        "name": "rows",
        "kind": "generator",
        "calls": 40,
        "mean_us": 6100.0,
        "file": "/home/u/data.py",
        "line": 41,
    }
    event = ev.Pipeline(t=T0 + 3, stages=[GENERATOR], user=[user])
    finding = the("input.python", run([event], host(1.0)))
    assert finding.evidence["user_ms_per_call"] == 6.1
    assert finding.incomplete is None
    assert "PyDataset" in finding.next


def test_without_stage_times_python_is_a_suspect_only() -> None:
    untimed: Stage = {**GENERATOR, "self_us": None, "per_batch_us": None}
    finding = the("input.python", run(pipeline(untimed, note="TensorFlow 2.15 keeps no times"), host(1.0)))
    assert finding.incomplete is not None
    assert "2.15" in finding.incomplete


@pytest.mark.parametrize(("workers", "named"), [(1, True), (None, True), (4, False)])
def test_a_pydataset_with_one_worker(workers: int | None, named: bool) -> None:
    dataset = ev.Dataset(t=T0 + 2, kind="pydataset", workers=workers)
    found = ids(run([dataset], pipeline(GENERATOR), host(1.0)))
    assert ("input.pydataset_single" in found) is named
    assert ("input.python" in found) is not named
    if not named:
        assert "in 4 workers" in the("input.python", run([dataset], pipeline(GENERATOR), host(1.0))).next


def test_workers_that_are_processes_share_no_lock() -> None:
    dataset = ev.Dataset(t=T0 + 2, kind="pydataset", workers=4, processes=True)
    finding = the("input.python", run([dataset], pipeline(GENERATOR), host(1.0)))
    assert "lock" not in finding.title + finding.next
    assert "in 4 processes" in finding.title and "more of them" in finding.next
    one = ev.Dataset(t=T0 + 2, kind="pydataset", workers=1, processes=True)
    assert "input.pydataset_single" in ids(run([one], pipeline(GENERATOR), host(1.0)))


def test_workers_that_make_batches_ahead_need_no_prefetch_and_are_blamed_by_their_own_clock() -> None:
    """Keras switches autotune off for them: then TensorFlow keeps no times."""
    untimed: Stage = {**GENERATOR, "self_us": None, "per_batch_us": None}

    def told(mean_us: float, workers: int = 2) -> list[str]:
        user: UserFunction = {"name": "rows", "kind": "getitem", "calls": 40, "mean_us": mean_us, "line": 41}
        user["file"] = "/home/u/data.py"
        dataset = ev.Dataset(t=T0 + 2, kind="pydataset", workers=workers, processes=workers > 1)
        off: dict[str, bool | None] = {"autotune": False}
        pipe = ev.Pipeline(t=T0 + 3, stages=[untimed], user=[user], note="autotune is off", options=off)
        return ids(run([dataset, pipe], host(1.0)))

    assert told(300_000.0) == ["input.bound", "input.python"]
    assert told(3_000.0) == ["input.bound"], "what is waited for is not their work"
    assert "input.no_prefetch" in told(3_000.0, workers=1)


def test_the_function_that_worker_processes_run_is_named_in_place_of_keras_own() -> None:
    kerass: Stage = {**GENERATOR, "self_us": None, "per_batch_us": None, "function": "_get_iterator", "line": 280}
    kerass["name"] = "Generator _get_iterator (Keras)"
    rows: Any = {"name": "Rows.__getitem__", "kind": "getitem", "calls": 20, "seconds": 9.0, "file": "a.py", "line": 7}
    dataset = ev.Dataset(t=T0 + 2, kind="pydataset", workers=2, processes=True)
    pipe = ev.Pipeline(t=T0 + 3, source="graph", stages=[kerass], note="autotune is off")
    code = [ev.UserCode(t=T0 + 4, pid=pid, user=[rows], parent=4711) for pid in (5001, 5002)]
    for told in ([dataset, pipe, *code], [dataset, *code, pipe]):
        finding = the("input.python", run(told, host(1.0)))
        assert "Rows.__getitem__ (a.py:7), in 2 processes" in finding.title
        assert finding.evidence["user_ms_per_call"] == 450.0


def test_a_pipeline_that_was_measured_before_the_training_is_not_blamed_for_it() -> None:
    """A prediction over arrays, and then a fit whose pipeline has no times."""
    before = [ev.Dataset(t=T0 + 1, kind="arrays", phase="predict"), *pipeline(SLOW_MAP)]
    untimed: Stage = {**GENERATOR, "self_us": None, "per_batch_us": None}
    told = ev.Pipeline(t=T0 + 5, source="graph", stages=[untimed], note="no times")
    fit = [ev.Dataset(t=T0 + 4, kind="generator"), told]
    assert run(before, host(1.0)).pipeline is not None
    state = run(before, fit, host(1.0))
    assert state.pipeline is not None and [stage["stage"] for stage in state.pipeline.stages] == ["Generator"]
    again = run(fit[:1], pipeline(SLOW_MAP), fit, host(1.0)).pipeline
    assert again is not None and again.stages == [SLOW_MAP], "what was measured of the same input stays"


def test_the_advice_for_workers_fits_the_keras() -> None:
    dataset = ev.Dataset(t=T0 + 2, kind="pydataset", workers=1)
    old = ev.Environment(t=T0 + 2, keras_flavour="keras2")
    own: list[UserFunction] = [
        {"name": "Rows.__getitem__", "kind": "getitem", "calls": 9, "mean_us": 9e3, "file": "/home/u/a.py", "line": 3}
    ]
    told: list[ev.Event] = [ev.Pipeline(t=T0 + 3, user=own)]
    assert "super().__init__(workers" in the("input.pydataset_single", run([dataset], told)).next
    # A class of a library's, such as Keras' own iterator over a folder of images, has no __init__ to change.
    assert ".workers = 4" in the("input.pydataset_single", run([dataset])).next
    assert the("input.pydataset_single", run([dataset, old])).next.startswith("fit(")


def test_a_prefetch_is_never_the_slow_stage() -> None:
    buffer: Stage = {"stage": "Prefetch", "name": "Prefetch", "self_us": 9e3, "per_batch_us": 9e3}
    assert evidence(the("input.bound", run(pipeline(buffer, PARALLEL))))["stage"]["function"] == "load_image"


def test_no_stage_is_blamed_for_a_wait_that_all_of_them_do_not_explain() -> None:
    quick: Stage = {**NATIVE, "per_batch_us": 300.0}
    full: list[ev.Event] = [ev.HostSample(t=T0 + i / 2, cores_percent=[99.0, 98.0]) for i in range(40)]
    slow_step = run(pipeline(quick))
    assert ids(slow_step) == ["input.bound"]
    assert "don't take long enough" in the("input.bound", slow_step).lines[2]
    assert "input=synthetic" in the("input.bound", slow_step).next
    assert "wait for one" in the("input.bound", run(pipeline(quick), full)).next
    short = state_of(start(), pipeline({**quick, "per_batch_us": 100.0}), windows(40, wait=0.6, step_ms=1.0))
    assert "larger batch" in the("input.bound", short).next


def test_what_a_library_does_is_not_the_users_to_change() -> None:
    cuts: Stage = {
        **PARALLEL,
        "name": "Map grab_batch (Keras)",
        "function": "grab_batch",
        "file": "/x/site-packages/k.py",
    }
    assert "Keras's own" in the("input.bound", run(pipeline(cuts))).next


def test_what_reads_files_is_to_read_several_at_once() -> None:
    reads: Stage = {**NATIVE, "stage": "CSV", "name": "CSV", "function": None, "file": None, "line": None}
    assert "interleave()" in the("input.bound", run(pipeline(reads))).next


def test_what_a_data_service_hands_over_is_made_elsewhere() -> None:
    served: Stage = {
        **NATIVE,
        "stage": "DataService",
        "name": "DataService",
        "function": None,
        "file": None,
        "line": None,
    }
    bound = the("input.bound", run(pipeline(served)))
    assert "tf.data service more workers" in bound.next
    assert any(line.endswith(", made by the workers of a tf.data service") for line in bound.lines)


def without_prefetch(**options: bool | None) -> list[ev.Event]:
    return [ev.Pipeline(t=T0 + 3, source="graph", stages=[{"stage": "Map"}, {"stage": "Batch"}], options=options)]


def test_prefetch_is_missed_only_where_tensorflow_adds_none_itself() -> None:
    finding = the("input.no_prefetch", run(without_prefetch(autotune=False)))
    assert finding.knob == "input=prefetch"
    assert finding.evidence["switched_off"] == ["autotune"]
    assert finding.share == pytest.approx(0.4, abs=0.01), "no more than computing can be overlapped"
    assert "input.no_prefetch" in ids(run(without_prefetch(inject_prefetch=False)))
    assert "input.no_prefetch" not in ids(run(without_prefetch(autotune=None)))
    own: list[ev.Event] = [ev.Pipeline(t=T0 + 3, stages=[{"stage": "Prefetch"}], options={"autotune": False})]
    assert "input.no_prefetch" not in ids(run(own))


def test_storage_needs_idle_cores_and_bytes() -> None:
    reading: Stage = {**NATIVE, "reads": True}
    finding = the("input.storage", run(pipeline(reading), host(0.4, disk_read_bps=3e6, net_recv_bps=10.0)))
    assert "2.9 MiB a second" in finding.title
    assert finding.evidence["disk_read_bytes_per_s"] == 3e6
    assert "input.storage" not in ids(run(pipeline(reading), host(1.2, disk_read_bps=3e6)))
    assert "input.storage" not in ids(run(pipeline(reading), host(0.4, disk_read_bps=0.0)))
    assert "input.storage" not in ids(run(pipeline(NATIVE), host(0.4, disk_read_bps=3e6)))
    remote = run(pipeline(SLOW_MAP), host(0.4, net_recv_bps=2e6))
    assert "the network" in the("input.storage", remote).title


def read_from(*rows: tuple[str, int, str, str], looks: int = 20) -> list[ev.Event]:
    """Folders with files that were open: path, looks, file system, source."""
    folders: list[ReadFolder] = [
        {"folder": path, "looks": seen, "mount": "/mnt", "file_system": kind, "source": source}
        for path, seen, kind, source in rows
    ]
    return [ev.ReadFiles(t=T0 + 8, looks=looks, folders=folders)]


@pytest.mark.parametrize(
    ("kind", "source", "words", "step"),
    [
        ("nfs4", "nas:/data", "a network file system (NFS)", "Copy /mnt/rows to a local disk"),
        ("fuse.s3fs", "s3fs", "a FUSE file system (s3fs)", "Copy /mnt/rows to a local disk"),
        ("9p", "drvfs", "the host's files (9p)", "Copy /mnt/rows to a local disk"),
        ("overlay", "overlay", "a container's own layers (overlay)", "as a volume"),
        ("ext4", "/dev/sda1", "ext4 on /dev/sda1", "few large TFRecord files"),
    ],
)
def test_storage_names_the_folder_and_its_file_system(kind: str, source: str, words: str, step: str) -> None:
    reading: Stage = {**NATIVE, "reads": True}
    told = read_from(("/var/other", 2, "xfs", "/dev/sdb"), ("/mnt/rows", 15, kind, source))
    finding = the("input.storage", run(pipeline(reading), told, host(0.4, disk_read_bps=3e6, file_read_bps=4e6)))
    assert finding.lines[0] == f"/mnt/rows lies on {words}, mounted at /mnt (files open in 15 of 20 looks)"
    assert step in finding.next
    assert evidence(finding)["folders"] == [told[0].folders[1]]  # type: ignore[attr-defined]


def test_what_fuse_gives_is_not_counted_as_a_disks() -> None:
    """Measured: of 200 kB read from a FUSE file system read_bytes counts none."""
    reading: Stage = {**NATIVE, "reads": True}
    fuse = read_from(("/home/u/other", 20, "ext4", "/dev/sda1"), ("/mnt/rows", 15, "fuse.sshfs", "me@host:/srv"))
    samples = host(0.4, disk_read_bps=0.0, file_read_bps=3e6)
    finding = the("input.storage", run(pipeline(reading), fuse, samples))
    assert "waits for a FUSE file system (sshfs)" in finding.title
    assert "/mnt/rows" in finding.lines[0]
    local = read_from(("/mnt/rows", 15, "ext4", "/dev/sda1"))
    assert "input.storage" not in ids(run(pipeline(reading), local, samples)), "from the system's own memory"
    seldom = read_from(("/mnt/rows", 2, "fuse.sshfs", "me@host:/srv"))
    assert "input.storage" not in ids(run(pipeline(reading), seldom, samples))


def test_a_folder_that_is_not_what_is_waited_for_is_not_named() -> None:
    local = read_from(("/mnt/rows", 15, "ext4", "/dev/sda1"), ("/dev/shm/rows", 20, "tmpfs", "tmpfs"))
    download = the("input.storage", run(pipeline(SLOW_MAP), local, host(0.4, net_recv_bps=2e6)))
    assert evidence(download)["folders"] == [] and "/mnt" not in str(download.lines)
    disk = the("input.storage", run(pipeline(SLOW_MAP), local, host(0.4, disk_read_bps=2e6)))
    assert [row["folder"] for row in evidence(disk)["folders"]] == ["/mnt/rows"], "what lies in memory is no disk"
    assert "a local disk" in the("input.storage", run(pipeline(SLOW_MAP), host(0.4, disk_read_bps=2e6))).next


def test_starved_of_cores() -> None:
    two = ev.Environment(t=T0 + 1, cpu_count=2)
    full = run([two], pipeline(PARALLEL), host(1.95))
    assert ids(full) == ["input.bound", "input.cpu_starved"]
    assert the("input.cpu_starved", full).evidence["cores_granted"] == 2
    assert "input.cpu_starved" not in ids(run([two], pipeline(PARALLEL), host(1.2)))
    assert "input.cpu_starved" not in ids(run([two], pipeline(NATIVE), host(1.95))), "that stage could not use more"
    throttled = run([two], pipeline(PARALLEL), host(1.0, throttled_percent=40.0))
    assert "quota" in the("input.cpu_starved", throttled).title
    others = host(0.7, cores_percent=[97.0, 8.0])
    one = ev.Environment(t=T0 - 1, cpu_count=1, cpus=[0])
    assert "input.cpu_starved" in ids(run([one], others, pipeline(PARALLEL))), "others use the only core, too"
    assert "input.cpu_starved" not in ids(run([two], others, pipeline(PARALLEL)))
    crowded = the("input.cpu_starved", run([two], host(0.6, cores_percent=[97.0, 99.0]), pipeline(PARALLEL)))
    assert "other programs keep them busy" in crowded.title
    assert "0.6 of 2 cores" in crowded.lines[0]
    quota = ev.Environment(t=T0 + 1, cpu_quota=1.0)
    assert "input.cpu_starved" in ids(run([two, quota], pipeline(PARALLEL), host(0.98)))


def test_no_cause_is_named_where_there_is_no_waiting() -> None:
    dataset = ev.Dataset(t=T0 + 2, kind="pydataset", workers=1)
    quiet = run([dataset], pipeline(NATIVE), without_prefetch(autotune=False), host(1.9), wait=0.05)
    assert ids(quiet) == []


def test_no_cause_is_named_where_waiting_is_hidden_or_not_sure() -> None:
    sample: Gpu = {"index": 0, "uuid": "GPU-a", "busy_percent": 97.0, "processes": [{"pid": 4711, "ours": True}]}
    gpus: list[ev.Event] = [ev.GpuSample(t=T0 + i / 2, gpus=[sample]) for i in range(40)]
    assert ids(run(gpus, pipeline(NATIVE), host(1.0))) == ["input.hidden"]
    bound: dict[str, Any] = {"wait_bound": "2 replicas compete for the cores"}
    dataset = ev.Dataset(t=T0 + 2, kind="pydataset", workers=1)
    assert ids(state_of(start(), [dataset], windows(20, wait=0.5, **bound))) == ["input.bound"]


def test_a_run_with_the_knob_is_not_offered_it_again() -> None:
    state = state_of(start({"input": "prefetch"}), pipeline(NATIVE), windows(20, wait=0.6))
    assert {f.knob for f in diagnose(state)} == {None}
    unknown = state_of(start(), pipeline(PARALLEL), windows(20, wait=0.6))
    assert the("input.bound", unknown).knob == "input=synthetic"


def epochs(count: int, first_wait_s: float, wall_s: float = 1.0, steps: int = 25) -> list[ev.Event]:
    """Epochs of `wall_s`; the first step of the later ones waits so long, and no other step does."""
    out: list[ev.Event] = windows(1)
    for n in range(1, count + 1):
        t = 10 + n * wall_s
        out.append(ev.Epoch(t=T0 + t - wall_s, state="begin", epoch=n, steps=steps, fit=1))
        wait = (first_wait_s if n > 1 else 0.0) / wall_s  # the first epoch's is warm-up
        out.append(
            ev.Steps(
                t=T0 + t - 0.01,
                steps=steps,
                executions=steps,
                wall_s=wall_s,
                wait_s=wall_s * wait,
                compute_s=wall_s * (1 - wait),
                step_max_s=max(wait * wall_s, 0.02),
                batch_size=32,
                fit=1,
                periods={"120": steps},
            )
        )
        out.append(ev.Epoch(t=T0 + t, state="end", epoch=n, steps=steps, fit=1, wall_s=wall_s))
    return out


SHUFFLE: Stage = {"stage": "Shuffle", "name": "Shuffle", "buffer_size": 1000}
DATA = ev.Dataset(t=T0 + 2, kind="tf.data", batch_size=32, batches=30)


def test_a_shuffle_that_fills_is_told_apart_from_the_steady_wait() -> None:
    state = state_of(start(), [DATA], pipeline(SHUFFLE), epochs(5, 0.4))
    assert ids(state) == ["input.shuffle_refill"]
    finding = the("input.shuffle_refill", state)
    assert finding.severity == "critical"
    assert finding.evidence["pause_ms"] == pytest.approx(400)
    assert finding.incomplete is None, "the buffer holds all of the data"


def test_a_small_buffer_without_stage_times_is_not_certain() -> None:
    small: Stage = {**SHUFFLE, "buffer_size": 100}
    finding = the("input.shuffle_refill", state_of(start(), [DATA], pipeline(small), epochs(5, 0.4)))
    assert finding.incomplete is not None


def test_a_shuffle_that_fills_at_once_does_not_explain_a_pause() -> None:
    cheap: Stage = {"stage": "TensorSlice", "per_batch_us": 10.0}
    state = state_of(start(), [DATA], pipeline(cheap, SHUFFLE), epochs(5, 0.4))
    assert ids(state) == ["input.epoch_start"]
    dear: Stage = {"stage": "Map", "per_batch_us": 12_000.0}
    assert ids(state_of(start(), [DATA], pipeline(dear, SHUFFLE), epochs(5, 0.4))) == ["input.shuffle_refill"]


def test_short_pauses_and_first_epochs_are_nothing() -> None:
    assert ids(state_of(start(), pipeline(SHUFFLE), epochs(5, 0.05))) == []
    assert ids(state_of(start(), pipeline({"stage": "Batch"}), epochs(5, 0.15))) == []
    assert "input.shuffle_refill" not in ids(state_of(start(), pipeline(SHUFFLE), epochs(2, 0.4)))


def test_arrays_that_went_to_the_gpu_as_a_whole() -> None:
    copy = ev.ArrayCopy(t=T0 + 2, device="GPU:0", array_bytes=3 << 30, grown_bytes=3 << 30)
    finding = the("input.whole_array_on_gpu", state_of(start(), [copy]))
    assert "3.0 GiB" in finding.title
    small = ev.ArrayCopy(t=T0 + 2, device="GPU:0", array_bytes=20 << 20, grown_bytes=20 << 20)
    assert ids(state_of(start(), [small])) == []


def test_the_knob_is_the_one_that_the_next_step_names() -> None:
    told: list[ev.Event] = [ev.Pipeline(t=T0 + 3, source="graph", note="autotune is off")]
    unknown = the("input.bound", run(told))
    assert (unknown.knob, "input=parallel" in unknown.next) == ("input=parallel", True)

    quick = [pipeline({**NATIVE, "per_batch_us": 20.0}), windows(20, wait=0.6, step_ms=1.0)]
    keras: list[ev.Event] = [ev.Model(t=T0, name="m", steps_per_execution=1)]
    joined = the("input.bound", state_of(start(), keras, *quick))
    assert (joined.knob, "steps_per_execution=32" in joined.next) == ("steps_per_execution=32", True)
    own_loop = the("input.bound", state_of(start(), quick[0], windows(20, wait=0.6, step_ms=1.0, loop="custom")))
    assert (own_loop.knob, "steps_per_execution" in own_loop.next) == ("input=synthetic", False)
    tried = the("input.bound", state_of(start({"steps_per_execution": "32"}), keras, *quick))
    assert tried.knob is None
