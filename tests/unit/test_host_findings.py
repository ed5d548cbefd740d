"""Family D: what the host does in place of training is named by its own signal, and only by that."""

from __future__ import annotations

from typing import Any

import pytest

from tests.journals import T0, start, state_of, steps, windows
from tfgpu_tui.core import events as ev
from tfgpu_tui.core.rows import CallPlace, Gpu
from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose import Finding, diagnose
from tfgpu_tui.report import report_json


def ids(state: RunState) -> list[str]:
    return [f.id for f in diagnose(state) if f.id.startswith("host.")]


def the(finding_id: str, state: RunState) -> Finding:
    return next(f for f in diagnose(state) if f.id == finding_id)


def test_a_model_that_is_called_between_the_steps_is_not_called_the_scripts_own_python() -> None:
    def told(**more: int) -> Finding:
        line: Any = {"file": "/home/u/train.py", "line": 9, "text": "model(x)", "looks": 40, "waiting": 0, **more}
        looks = ev.ScriptLines(t=T0 + 9, looks=100, loop_looks=50, loop=[line])
        return the("host.python", state_of(start(), windows(10, host=0.4, loop="custom"), [looks]))

    in_model = told(in_layer=30)
    assert in_model.title.endswith("takes 40 % of each: mostly a model, called op by op")
    assert "tf.function" in in_model.next and "train.py:9" in in_model.next
    for other in (told(in_layer=15), told()):  # an older agent does not tell
        assert other.title.startswith("The script's own Python takes 40 %")
        assert other.next.startswith("Begin with train.py:9")


# -- eager


def test_an_eager_step_tells_its_ops_and_the_knob() -> None:
    model = ev.Model(t=T0, name="m", run_eagerly=True)
    placement = ev.Placement(t=T0, source="eager", ops=214)
    state = state_of(start(), [model, placement], windows(10))
    finding = the("host.eager", state)
    assert "214 ops a step" in finding.lines[0]
    assert finding.knob == "run_eagerly=off"
    assert report_json.build(state)["training"]["eager_ops_per_step"] == 214
    loop = state_of(start(), [placement], windows(10, loop="eager"))
    assert the("host.eager", loop).knob is None, "no setting makes a function of a loop"


def test_a_short_loop_of_a_function_does_not_hide_the_eager_steps_before_it() -> None:
    """Nor the other way round: the loop of most of the time is the run's."""
    mixed = state_of(start(), windows(20, loop="eager"), windows(4, loop="custom"))
    assert mixed.loop == "eager"
    assert "so do 500 of 600 steps" in the("host.eager", mixed).lines[1]
    assert ids(state_of(start(), windows(4, loop="eager"), windows(20, loop="custom"))) == []


@pytest.mark.parametrize("loop", ["fit", "eager"])
def test_tensorflows_own_switch_for_eager_functions_is_named_with_its_line(loop: str) -> None:
    call = "run_functions_eagerly(True) at train.py:3"
    knobs = ev.Knobs(t=T0, in_force={"run_eagerly": "on"}, script={"run_eagerly": call})
    model = ev.Model(t=T0, name="m", run_eagerly=False)
    finding = the("host.eager", state_of(start(), [knobs, model], windows(10, loop=loop)))
    assert finding.lines[0] == call
    assert "run_functions_eagerly" in finding.next
    assert finding.knob == "run_eagerly=off"


def test_eager_execution_that_the_run_was_asked_for_is_no_fault_of_the_script() -> None:
    knobs = ev.Knobs(t=T0, in_force={"run_eagerly": "on"})
    finding = the("host.eager", state_of(start({"run_eagerly": "on"}), [knobs], windows(10)))
    assert finding.lines[0] == "this run was asked for run_eagerly=on"
    assert finding.next.startswith("Rerun without run_eagerly=on")
    assert finding.knob is None


def test_a_debugging_switch_is_named_while_it_is_on() -> None:
    on = ev.DebugSwitch(t=T0, name="check_numerics", on=True, place="train.py:3")
    off = ev.DebugSwitch(t=T0 + 1, name="check_numerics", on=False, place="train.py:9")
    finding = the("host.debugging", state_of(start(), [on], windows(10)))
    assert finding.lines[0].startswith("tf.debugging.enable_check_numerics() at train.py:3")
    assert finding.evidence["switches"] == {"check_numerics": "train.py:3"}
    silent: tuple[list[ev.Event], ...] = (
        [on, off],
        [ev.DebugSwitch(t=T0, name="of tomorrow", on=True, place="train.py:3")],
        [],
    )
    for events in silent:
        assert "host.debugging" not in [f.id for f in diagnose(state_of(start(), events, windows(10)))]
    assert "host.debugging" not in [f.id for f in diagnose(state_of(start(), [on]))], "before the steps are judged"


def test_ops_of_a_graph_are_unknown_with_the_reason() -> None:
    data = report_json.build(state_of(start(), [ev.Placement(t=T0, source="graph", ops=90)], windows(10)))
    assert data["training"]["eager_ops_per_step"] is None
    assert "graph" in data["unknown"]["training.eager_ops_per_step"]


# -- launch-bound


def on_gpu(busy: float, core: float) -> list[ev.Event]:
    sample: Gpu = {"index": 0, "uuid": "GPU-a", "busy_percent": busy, "processes": [{"pid": 4711, "ours": True}]}
    out: list[ev.Event] = [ev.Model(t=T0, name="m", steps_per_execution=1)]
    for i in range(40):
        out.append(ev.GpuSample(t=T0 + i / 2, gpus=[sample]))
        out.append(ev.HostSample(t=T0 + i / 2, cores_percent=[5.0, core]))
    return out


def test_steps_that_are_too_small_for_the_gpu() -> None:
    finding = the("host.launch_bound", state_of(start(), on_gpu(22.0, 99.0), windows(20, step_ms=2.5)))
    assert finding.knob == "steps_per_execution=32"
    assert finding.share == pytest.approx(0.95 * 0.78, abs=0.01)
    assert finding.evidence["gpu_busy_percent"] == 22.0


@pytest.mark.parametrize(
    ("busy", "core", "step_ms", "wait"),
    [(80.0, 99.0, 2.5, 0.0), (22.0, 40.0, 2.5, 0.0), (22.0, 99.0, 60.0, 0.0), (22.0, 99.0, 2.5, 0.3)],
)
def test_what_is_not_launch_bound(busy: float, core: float, step_ms: float, wait: float) -> None:
    state = state_of(start(), on_gpu(busy, core), windows(20, step_ms=step_ms, wait=wait))
    assert "host.launch_bound" not in ids(state)


def test_without_a_gpu_nothing_is_launched() -> None:
    assert "host.launch_bound" not in ids(state_of(start(), windows(20, step_ms=2.5)))


# -- retracing


def retraced(kind: str = "value", until: int = 10, seconds: float = 0.1, **more: Any) -> list[ev.Event]:
    """Ten windows of a second each; in the first `until` of them ten traces of so many seconds."""
    out: list[ev.Event] = []
    for i in range(10):
        if i < until:
            out.append(
                ev.Retrace(
                    t=T0 + i,
                    function="train_step",
                    file="/home/u/train.py",
                    line=7,
                    traces=2 + 10 * i,
                    seconds=10 * seconds * i,
                    kind=kind,
                    **more,
                )
            )
        out.append(steps(3 + i, 20, 50, warmup=i < until, traces=10 if i < until else 0))
    return out


def test_retracing_names_the_function_and_the_argument() -> None:
    finding = the("host.retracing", state_of(start(), retraced(argument="rate", before="0.1", after="0.2")))
    assert finding.severity == "critical"
    assert "train_step (train.py:7): traced 92 times" in finding.lines[0]
    assert "rate changed: 0.1 → 0.2" in finding.lines[1]
    assert "tf.constant" in finding.next
    assert finding.evidence["argument"] == "rate"


def test_a_function_made_anew_has_no_argument() -> None:
    finding = the("host.retracing", state_of(start(), retraced("object")))
    assert "new tf.function" in finding.lines[1]
    assert "outside of the loop" in finding.next


def test_traces_of_the_start_are_not_retracing() -> None:
    assert "host.retracing" not in ids(state_of(start(), retraced(until=4)))


def test_cheap_traces_are_no_finding() -> None:
    assert "host.retracing" not in ids(state_of(start(), retraced(seconds=0.002)))


# -- XLA


def compiling(jit: bool = True, shape: list[int | None] | None = None, spikes: int = 8) -> list[ev.Event]:
    shape = shape if shape is not None else [16, None]
    out: list[ev.Event] = [
        ev.Model(t=T0, name="m", jit_compile=jit),
        ev.Dataset(t=T0, kind="tf.data", elements=[{"dtype": "int32", "shape": shape}]),
        *windows(20),
    ]
    return [*out, *(steps(10 + i, 1, 400, compute_s=0.39) for i in range(spikes))]


def test_xla_that_compiles_for_each_shape_is_inferred_and_says_so() -> None:
    finding = the("host.xla_recompile", state_of(start(), compiling()))
    assert finding.evidence["spikes"] == 8
    assert finding.evidence["spike_ms"] == 400
    assert finding.incomplete is not None
    assert finding.knob == "jit_compile=off"


@pytest.mark.parametrize("run", [compiling(jit=False), compiling(shape=[None, 16]), compiling(spikes=2)])
def test_slow_steps_alone_are_not_xla(run: list[ev.Event]) -> None:
    assert "host.xla_recompile" not in ids(state_of(start(), run))


# -- between the steps


def epochs(count: int, validation_s: float = 0.0, callbacks: dict[str, float] | None = None) -> list[ev.Event]:
    out: list[ev.Event] = windows(10)
    for n in range(1, count + 1):
        out.append(
            ev.Epoch(
                t=T0 + 10 + n,
                state="end",
                epoch=n,
                fit=1,
                wall_s=1.0,
                steps=50,
                validation_s=validation_s * (5 if n == 1 else 1),
                callbacks=callbacks or {},
            )
        )
    return out


def test_validation_that_dominates() -> None:
    finding = the("host.validation", state_of(start(), epochs(4, 0.6)))
    assert finding.severity == "critical"
    assert "validation_freq" in finding.next
    assert finding.evidence["validation_ms_per_epoch"] == 600
    assert the("host.validation", state_of(start(), epochs(4, 0.35))).severity == "warning"


def test_a_checkpoint_that_dominates_is_named() -> None:
    finding = the("host.validation", state_of(start(), epochs(4, 0.1, {"ModelCheckpoint": 0.4})))
    assert "ModelCheckpoint" in finding.next


def test_usual_validation_is_no_finding() -> None:
    assert "host.validation" not in ids(state_of(start(), epochs(4, 0.2, {"ModelCheckpoint": 0.05})))
    assert "host.validation" not in ids(state_of(start(), epochs(2, 0.6))), "one epoch after the first is too few"


def fits(count: int, fit_s: float, steps_each: int) -> list[ev.Event]:
    out: list[ev.Event] = []
    for n in range(1, count + 1):
        out.append(steps(3 + n, steps_each, 10, fit=n))
        out.append(ev.FitCalls(t=T0 + 3 + n, count=n, wall_s=5.0 + fit_s * n))
    return out


def test_many_short_fits() -> None:
    finding = the("host.fit_in_loop", state_of(start(), fits(20, 0.4, 10)))
    assert finding.evidence["fits"] == 19
    assert finding.evidence["setup_ms_per_fit"] == pytest.approx(300)
    assert finding.evidence["share_of_fits"] == pytest.approx(0.75)
    assert finding.share == pytest.approx(19 * 0.3 / 19.1), "of the time since the first step, as any other"


def test_few_fits_long_fits_and_quick_starts_are_fine() -> None:
    assert "host.fit_in_loop" not in ids(state_of(start(), fits(5, 0.4, 10)))
    assert "host.fit_in_loop" not in ids(state_of(start(), fits(20, 4.0, 300)))
    assert "host.fit_in_loop" not in ids(state_of(start(), fits(20, 0.105, 10)))


def test_what_lies_between_the_epochs_of_one_fit_is_none_of_its_start() -> None:
    """Of the 0.3 s around the steps of each fit, 0.29 s follow the epochs."""

    def told(epochs_each: int) -> RunState:
        out: list[ev.Event] = []
        for n in range(1, 21):
            spent = {"preparing": 5.0 + 0.01 * n, "fit": 0.39 * n}
            out.append(steps(3 + n, 10, 10, fit=n))
            out += [ev.Epoch(t=T0 + 3 + n, state="end", epoch=e, fit=n) for e in range(1, epochs_each + 1)]
            out.append(ev.Phase(t=T0 + 3 + n, phase="idle", part="idle", spent_s=spent))
            out.append(ev.FitCalls(t=T0 + 3 + n, count=n, wall_s=5.0 + 0.4 * n))
        return state_of(start(), out)

    assert "host.fit_in_loop" not in ids(told(50))
    finding = the("host.fit_in_loop", told(1))
    assert finding.evidence["setup_ms_per_fit"] == pytest.approx(300), "one fit of all of them ends but once"
    assert the("host.fit_in_loop", told(2)).evidence["setup_ms_per_fit"] == pytest.approx(155)


def predicts(count: int, call_s: float = 0.05, batches: int = 1, **more: Any) -> list[ev.Event]:
    """Calls at each half second, of which each batch takes 5 ms, after the calls before the first training step."""
    place: CallPlace = {"file": "/home/u/agent.py", "line": 12, "function": "act", "count": 1, "wall_s": 1.0}
    return [
        ev.PredictCalls(
            t=T0 + 2.0 + n / 2,
            pid=4711,
            count=10 + n,
            wall_s=60.0 + call_s * n,
            batches=10 + batches * n,
            batches_s=1.0 + 0.005 * batches * n,
            places=[place],
            **{"method": "predict", **more},
        )
        for n in range(count + 1)
    ]


def test_a_predict_for_each_row() -> None:
    finding = the("host.predict_in_loop", state_of(start(), windows(40), predicts(40, 0.1)))
    assert finding.evidence["calls"] == {"predict": 40}, "not those in which the function was traced"
    assert finding.evidence["setup_ms_per_call"] == pytest.approx(95)
    assert finding.evidence["batches_per_call"] == 1
    # Windows and calls end 12 and 22 s after the start, the first step (of the warm-up) began after one second.
    assert finding.share == pytest.approx(40 * 0.095 / 21)
    assert finding.severity == "warning" and finding.incomplete is None
    assert "agent.py:12, in act" in finding.lines[1]
    assert finding.title.endswith("starting predict(), 50 times"), "all of them, the script's author would say"
    assert "model(x, training=False)" in finding.next
    data = report_json.build(state_of(start(), windows(40), predicts(40, 0.1)))
    assert data["training"]["predict_calls"][0]["count"] == 50


def test_calls_of_evaluate_are_told_with_their_own_next_step() -> None:
    journal = [start(), windows(40), predicts(40, 0.2, method="evaluate")]
    finding = the("host.predict_in_loop", state_of(*journal))
    assert "starting evaluate(), 50 times" in finding.title and "test_on_batch" in finding.next
    both = the("host.predict_in_loop", state_of(*journal, predicts(40, 0.2)))
    assert "predict() and evaluate(), 100 times" in both.title
    assert both.share == pytest.approx(2 * finding.share)


def test_few_calls_calls_of_many_batches_and_looks_after_an_epoch_are_fine() -> None:
    assert "host.predict_in_loop" not in ids(state_of(start(), windows(40), predicts(10, 0.2)))
    assert "host.predict_in_loop" not in ids(state_of(start(), windows(40), predicts(40, 0.5, batches=99)))
    assert "host.predict_in_loop" not in ids(state_of(start(), windows(40), predicts(40, 0.01)))
    of_callbacks = predicts(40, 0.2, in_fit=True)
    assert "host.predict_in_loop" in ids(state_of(start(), windows(40), epochs(4, 0.0), of_callbacks))
    assert "host.predict_in_loop" not in ids(state_of(start(), windows(40), epochs(40, 0.0), of_callbacks))


def test_a_callback_that_predicts_in_a_loop_is_said_once_with_the_line() -> None:
    edges = epochs(4, 0.0, {"Generate": 0.6})
    assert "host.validation" in ids(state_of(start(), windows(40), edges))
    found = ids(state_of(start(), windows(40), edges, predicts(40, 0.2, in_fit=True)))
    assert "host.predict_in_loop" in found and "host.validation" not in found
    found = ids(state_of(start(), windows(40), edges, predicts(40, 0.2)))
    assert {"host.predict_in_loop", "host.validation"} <= set(found), "these calls are none of the callback's"


def test_calls_whose_batches_were_not_seen_are_not_certain() -> None:
    finding = the("host.predict_in_loop", state_of(start(), windows(40), predicts(40, 0.2, batches=0)))
    assert finding.incomplete is not None and finding.evidence["batches_per_call"] is None


def test_the_more_costly_kind_of_call_comes_first() -> None:
    fewer = state_of(start(), fits(40, 0.25, 10), predicts(40, 0.3))
    assert ids(fewer)[:2] == ["host.predict_in_loop", "host.fit_in_loop"]
    more = state_of(start(), fits(40, 0.7, 10), predicts(40, 0.3))
    assert ids(more)[:2] == ["host.fit_in_loop", "host.predict_in_loop"]
