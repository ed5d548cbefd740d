"""Each finding appears when its signal does, and a healthy run has none."""

from typing import Any

import pytest

from tests.journals import SLOW_MAP, T0, evidence, pipeline, start, state_of, steps, windows
from tfgpu_tui.core import events as ev
from tfgpu_tui.core.account import whole_run
from tfgpu_tui.core.rows import Gpu, GpuProcess, MemoryDevice, Stage
from tfgpu_tui.core.run_words import SERVES_WORDS
from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose import Finding, FindingLog, diagnose


def ids(state: RunState) -> list[str]:
    return [f.id for f in diagnose(state)]


def the(finding_id: str, state: RunState) -> Finding:
    return next(f for f in diagnose(state) if f.id == finding_id)


def gpu(busy: float) -> list[ev.Event]:
    """A GPU that the run uses, through all of its training."""
    sample: Gpu = {"index": 0, "uuid": "GPU-a", "busy_percent": busy, "processes": [{"pid": 4711, "ours": True}]}
    machine = ev.Environment(t=T0, src="host", nvidia_devices=1)
    seen = ev.Environment(t=T0 + 1, src="agent", tf_gpus=[{"device": "GPU:0", "uuid": "GPU-a"}])
    return [machine, seen, *(ev.GpuSample(t=T0 + i / 2, gpus=[sample]) for i in range(40))]


def test_a_healthy_run_has_no_warning() -> None:
    state = state_of(start(), windows(20, wait=0.02), pipeline(), [ev.RunEnded(t=T0 + 15, exit_code=0)])
    assert [f for f in diagnose(state) if f.severity != "info"] == []


def test_input_bound_names_the_slow_stage_with_file_and_line() -> None:
    finding = the("input.bound", state_of(start(), windows(20, wait=0.61), pipeline()))
    assert finding.severity == "critical"
    assert "61 %" in finding.title
    assert "Map load_image (data.py:41)" in finding.lines[1]
    assert "load_image (data.py:41)" in finding.next
    assert evidence(finding)["stage"]["line"] == 41
    assert finding.evidence["input_wait"] == pytest.approx(0.61, abs=0.001)


@pytest.mark.parametrize(("wait", "severity"), [(0.09, None), (0.11, "warning"), (0.21, "critical")])
def test_input_wait_scale(wait: float, severity: str | None) -> None:
    found = [f.severity for f in diagnose(state_of(start(), windows(20, wait=wait))) if f.id == "input.bound"]
    assert found == ([severity] if severity else [])


def test_warmup_steps_are_never_judged() -> None:
    warm: list[ev.Event] = [steps(2 + i, 20, wait=0.9, warmup=True) for i in range(20)]
    assert "input.bound" not in ids(state_of(start(), warm))
    assert "input.bound" not in ids(state_of(start(), warm, [steps(30, 19, wait=0.9)]))
    assert "input.bound" in ids(state_of(start(), warm, [steps(30, 20, wait=0.9)]))


def test_without_stage_times_the_reason_is_said() -> None:
    state = state_of(
        start(), windows(20, wait=0.5), pipeline({"stage": "Map"}, note="TensorFlow 2.15 has no stage times")
    )
    assert "TensorFlow 2.15 has no stage times" in the("input.bound", state).lines[1]
    untimed: Stage = {**SLOW_MAP, "self_us": None, "per_batch_us": None}
    suspected = the("input.bound", state_of(start(), windows(20, wait=0.5), pipeline(untimed, note="no times")))
    assert "load_image (data.py:41)" in suspected.next
    assert "unknown" in suspected.lines[1]


def test_hidden_wait_is_no_loss() -> None:
    state = state_of(start(), gpu(busy=96.0), windows(20, wait=0.4))
    assert "input.hidden" in ids(state)
    assert "input.bound" not in ids(state)
    assert "input.bound" in ids(state_of(start(), gpu(busy=30.0), windows(20, wait=0.4)))


def test_an_upper_bound_alone_is_not_called_input_bound() -> None:
    bound: dict[str, Any] = {"wait_bound": "2 replicas compete for the cores"}
    alone = the("input.bound", state_of(start(), windows(20, wait=0.5, **bound)))
    assert alone.severity == "info"
    assert alone.incomplete is not None
    confirmed = the("input.bound", state_of(start(), windows(20, wait=0.5, **bound), pipeline(SLOW_MAP)))
    assert confirmed.severity == "critical"


@pytest.mark.parametrize(
    ("stage", "advice"),
    [
        ({"stage": "Map", "name": "Map f", "per_batch_us": 9e3}, "Give the map of Map f num_parallel_calls"),
        (
            {"stage": "ParallelMapV2", "name": "Map f", "per_batch_us": 9e3, "parallelism": 2},
            "already runs in parallel",
        ),
        ({"stage": "Generator", "name": "Generator g", "per_batch_us": 9e3, "python": True}, "with tf.data ops"),
        ({"stage": "Map", "name": "Map f", "per_batch_us": 9e3, "python": True}, "with TensorFlow ops"),
    ],
)
def test_the_advice_fits_the_stage(stage: Stage, advice: str) -> None:
    assert advice in the("input.bound", state_of(start(), windows(20, wait=0.5), pipeline(stage))).next


def test_callbacks_are_named_with_their_time() -> None:
    slow: list[ev.Event] = [steps(3 + i, 25, 10, host=0.6, callbacks={"WeightHistory": 0.14}) for i in range(10)]
    finding = the("host.callbacks", state_of(start(), slow))
    assert finding.severity == "critical"
    assert "WeightHistory" in finding.next
    assert "56 %" in finding.title
    assert "5.60 ms" in finding.next


def test_eager_is_said_for_models_and_for_loops() -> None:
    model = ev.Model(t=T0, name="m", run_eagerly=True)
    assert "host.eager" in ids(state_of(start(), [model], windows(10)))
    assert "host.eager" in ids(state_of(start(), windows(10, loop="eager")))
    assert "host.eager" not in ids(state_of(start(), windows(10)))


def test_own_python_counts_in_own_loops_only() -> None:
    assert "host.python" in ids(state_of(start(), windows(10, host=0.4, loop="custom")))
    assert "host.python" not in ids(state_of(start(), windows(10, host=0.4)))


def test_no_gpu_is_said_once_as_information() -> None:
    findings = diagnose(state_of(start(), windows(10)))
    assert [(f.id, f.severity) for f in findings] == [("gpu.none", "info")]


def test_no_verdict_on_the_gpu_before_anybody_looked() -> None:
    assert ids(state_of(start()[:2])) == []


@pytest.mark.parametrize(
    ("status", "more", "expected"),
    [
        ("ok", {"tensorflow_build": "cpu"}, "gpu.cpu_build"),
        ("ok", {"tensorflow_build": "cuda 12.5.1", "visible_devices": ""}, "gpu.hidden"),
        ("mismatch", {"tensorflow_build": "cuda 12.5.1"}, "gpu.driver"),
        ("ok", {"tensorflow_build": "cuda 12.5.1"}, "gpu.not_used"),
    ],
)
def test_a_gpu_that_tensorflow_does_not_list(status: str, more: dict[str, Any], expected: str) -> None:
    machine = ev.Environment(t=T0, nvidia_devices=1, tensorflow="2.21.0", tf_gpus=[], **more)
    state = state_of([machine, ev.GpuSample(t=T0, status=status)])
    assert ids(state) == [expected]


def reserved(knobs: dict[str, str], mine: int = 130 << 30, peak: int = 9 << 30) -> RunState:
    """A GPU of 139 GiB of which this run holds `mine` bytes and its model used `peak`."""
    process: GpuProcess = {"pid": 4711, "memory_bytes": mine, "ours": True}
    sample: Gpu = {"index": 0, "uuid": "GPU-a", "memory_total_bytes": 139 << 30, "processes": [process]}
    device: MemoryDevice = {"device": "GPU:0", "current_bytes": peak, "peak_bytes": peak}
    return state_of(
        start(knobs),
        [
            ev.Environment(t=T0, nvidia_devices=1, tf_gpus=[{"device": "GPU:0", "uuid": "GPU-a"}]),
            ev.GpuSample(t=T0 + 1, gpus=[sample]),
            ev.TfMemory(t=T0 + 1, devices=[device]),
        ],
    )


def test_reserved_memory_is_not_use() -> None:
    assert the("memory.preallocated", reserved({})).knob == "memory_growth=on"
    assert "memory.preallocated" not in ids(reserved({"memory_growth": "on"}))
    assert "memory.preallocated" not in ids(reserved({}, peak=120 << 30))


def test_a_failed_script_shows_the_users_own_line() -> None:
    error = ev.ScriptError(t=T0 + 5, exception="ValueError", message="bad shape\nmore",
                           file="/home/u/models/net.py", line=12,
                           function="call")  # fmt: skip
    finding = diagnose(state_of(start(), windows(5), [error, ev.RunEnded(t=T0 + 6, exit_code=1)]))[0]
    assert finding.id == "run.failed"
    assert "ValueError: bad shape" in finding.title
    assert "models/net.py:12 in call" in finding.next


def test_a_signal_is_a_finding_unless_we_sent_it() -> None:
    killed = ev.RunEnded(t=T0 + 6, signal=9)
    assert "run.killed" in ids(state_of(start(), windows(5), [killed]))
    assert "run.killed" not in ids(state_of(start(), windows(5), [ev.Stopping(t=T0 + 5, stage="kill"), killed]))
    early = ev.TrainEnd(t=T0 + 5, src="agent", stopped="stop-after")
    assert "run.killed" in ids(state_of(start(), windows(5), [early, killed])), "out of memory after it, say"
    interrupted = ev.RunEnded(t=T0 + 6, signal=2)
    assert "run.killed" not in ids(state_of(start(), windows(5), [early, interrupted])), "a loop of one's own"
    error = ev.ScriptError(t=T0 + 6, exception="OSError", message="disk full", file="/home/u/models/net.py", line=12)
    failed = ev.RunEnded(t=T0 + 7, exit_code=1)
    for asked in (early, ev.Stopping(t=T0 + 5, stage="batch")):
        assert "run.failed" in ids(state_of(start(), windows(5), [asked, error, failed])), "by itself, after the stop"


def test_an_interpreter_that_does_not_close_is_said() -> None:
    exiting = ev.Phase(t=T0 + 8, src="agent", phase="exiting")
    later = ev.HostSample(t=T0 + 40)
    assert "run.slow_exit" not in ids(state_of(start(), windows(5), [exiting, ev.HostSample(t=T0 + 20)]))
    error = ev.ScriptError(
        t=T0 + 7, exception="ValueError", message="file 37 is broken", file="/home/u/models/net.py", line=12
    )
    finding = the("run.slow_exit", state_of(start(), pipeline(SLOW_MAP), windows(5), [error, exiting, later]))
    assert "32" in finding.title
    assert "file 37 is broken, at models/net.py:12" in finding.lines[0]
    assert "load_image (data.py:41)" in finding.lines[-2] and "fault of TensorFlow" in finding.lines[-1]
    assert "kill -TERM 4711" in finding.next
    ended = ev.RunEnded(t=T0 + 41, exit_code=0)
    assert "33" in the("run.slow_exit", state_of(start(), windows(5), [exiting, later, ended])).title
    stop = ev.Stopping(t=T0 + 7, stage="batch")
    after_stop = the("run.slow_exit", state_of(start(), pipeline(SLOW_MAP), windows(5), [stop, exiting, later, ended]))
    assert "load_image" not in " ".join(after_stop.lines) and "Nothing in the script" in after_stop.next
    again = ev.Phase(t=T0 + 9, src="agent", phase="training")
    assert "run.slow_exit" not in ids(state_of(start(), windows(5), [exiting, again, later]))


def test_keras_on_another_backend_is_said_and_tensorflows_gpus_are_no_question() -> None:
    def on(backend: str) -> list[str]:
        env = ev.Environment(t=T0 + 2, src="agent", backend=backend)
        box = ev.Environment(t=T0, src="host", nvidia_devices=1)
        return ids(state_of(start(), [box, env], windows(10)))

    assert "run.other_backend" not in on("tensorflow")
    assert [name for name in on("tensorflow") if name.startswith("gpu.")], "a CPU build beside a GPU"
    assert "run.other_backend" in on("jax")
    assert [name for name in on("jax") if name.startswith("gpu.")] == []


def test_no_steps_says_what_was_looked_for() -> None:
    ended = ev.RunEnded(t=T0 + 6, exit_code=0)
    assert "looked for fit" in the("run.no_steps", state_of(start(), [ended])).lines[0]
    bare = [e for e in start() if not isinstance(e, ev.AgentConnected)]
    assert "-I, -E" in the("run.no_steps", state_of(bare, [ended])).next
    missing = ev.Environment(t=T0, tensorflow="missing")
    assert "--python" in the("run.no_steps", state_of(start()[:5], [missing])).next
    assert "run.no_steps" not in ids(state_of(start(), windows(2), [ended]))
    crashed = ev.ChildEnded(t=T0, child=7, exit_code=1)
    assert "run.no_steps" not in ids(state_of(start(), [crashed, ended])), "it did not come to that"


def test_a_server_trains_nothing_on_purpose() -> None:
    waits = ev.Phase(t=T0 + 2, src="agent", pid=4711, phase="serving", part="serving", spent_s={"importing": 1.0})
    ended = ev.RunEnded(t=T0 + 90, exit_code=0)
    member = ev.Member(t=T0 + 1, src="agent", pid=4711, role="ps")
    state = state_of(start(), [member, waits])
    assert state.activity() == f"ps: {SERVES_WORDS}"
    begun = [e for e in start() if not isinstance(e, ev.Phase)]
    returned = ev.Phase(t=T0 + 80, src="agent", pid=4711, phase="exiting", spent_s={"importing": 1.0, "serving": 78.0})
    for told in ([waits], [waits, returned]):
        state = state_of(begun, [*told, ended])
        assert "run.no_steps" not in ids(state)
        whole = whole_run(state)
        assert whole is not None and {p.key: round(p.seconds) for p in whole.parts}["serving"] >= 78
    chief = ev.Phase(t=T0 + 3, src="agent", pid=99, phase="imported", spent_s={"importing": 1.0})
    assert "run.no_steps" in ids(state_of(begun, [waits, chief, ended])), "another process of it is no server"


@pytest.mark.parametrize(
    ("signal", "serves", "found"), [(15, True, False), (2, True, False), (9, True, True), (15, False, True)]
)
def test_what_ends_a_server_is_its_end(signal: int, serves: bool, found: bool) -> None:
    waits = ev.Phase(t=T0 + 2, src="agent", pid=4711, phase="serving", part="serving", spent_s={"importing": 1.0})
    begun = [e for e in start() if not isinstance(e, ev.Phase)]
    state = state_of(begun, [*([waits] if serves else []), ev.RunEnded(t=T0 + 90, signal=signal)])
    assert ("run.killed" in ids(state)) == found


def test_crashed_children_are_told_with_their_reason() -> None:
    gone = "module 'tensorflow._api.v2.train' has no attribute 'Server'"
    error = ev.ScriptError(t=T0, exception="AttributeError", message=gone, file="/home/u/w.py", line=7, main=False)
    crashed = ev.ChildEnded(t=T0, child=7, exit_code=1)
    ended = ev.RunEnded(t=T0 + 30, exit_code=0, signal=None, wall_s=30)
    finding = the("run.failed", state_of(start(), [error, crashed, ended]))
    assert finding.title == "1 child process crashed, though the script ended well"
    assert finding.lines[0] == f"AttributeError: {gone}, at w.py:7"
    assert finding.next.startswith("At w.py:7 write tf.distribute.Server")


def test_findings_are_ranked_by_what_they_cost() -> None:
    both: list[ev.Event] = [steps(3 + i, 25, 10, wait=0.25, host=0.5, callbacks={"C": 0.1}) for i in range(10)]
    assert ids(state_of(start(), both, pipeline()))[:2] == ["host.callbacks", "input.bound"]


def test_a_finding_lingers_and_says_since_when() -> None:
    log = FindingLog(linger_s=5.0)
    finding = the("input.bound", state_of(start(), windows(20, wait=0.5)))
    assert log.update([finding], 100.0) == [(finding, 100.0)]
    assert log.update([finding], 103.0) == [(finding, 100.0)]
    assert log.update([], 107.0) == [(finding, 100.0)]
    assert log.update([], 109.0) == []
