"""The reducer: exact counts, honest unknowns, the words of the status line."""

from dataclasses import replace

import pytest

from tests.journals import T0, pipeline, start, state_of, steps, windows
from tfgpu_tui.core import events as ev
from tfgpu_tui.core.rows import Gpu, GpuProcess
from tfgpu_tui.core.state import RunState, fold


def test_steps_are_exact_and_warmup_is_counted_but_not_judged() -> None:
    state = state_of(start(), windows(10))
    assert state.train.steps == 5 + 10 * 25
    assert state.judged.steps == 10 * 25
    assert state.judged.mean_s == pytest.approx(0.010, rel=0.02)


def test_shares_sum_to_one() -> None:
    shares = state_of(start(), windows(10, wait=0.61)).judged.shares()
    assert sum(v for v in shares.values() if v is not None) == pytest.approx(1.0)
    assert shares["input_wait"] == pytest.approx(0.61)


def test_one_window_without_a_wait_makes_the_share_unknown_not_smaller() -> None:
    state = state_of(start(), windows(4, wait=0.5), [steps(9, wait_s=None, compute_s=None)])
    assert state.judged.shares()["input_wait"] is None
    assert state.judged.shares()["host"] is not None


def test_percentiles_come_from_all_windows() -> None:
    state = state_of(start(), [steps(2 + i, 95 if i % 2 else 5, 10 if i % 2 else 100) for i in range(10)])
    assert state.judged.percentile_s(0.5) == pytest.approx(0.010, rel=0.05)
    assert state.judged.percentile_s(0.99) == pytest.approx(0.100, rel=0.05)
    assert RunState().judged.percentile_s(0.5) is None


def test_epochs_steps_within_and_time_left() -> None:
    begin = ev.Epoch(t=T0 + 2, state="begin", epoch=1, epochs=4, steps=500, fit=1)
    state = state_of(start(), [begin], windows(10))
    assert (state.epoch, state.epochs, state.step_in_epoch) == (1, 4, 255)
    left = (500 - 255 + 3 * 500) * 0.010
    assert state.eta_s() == pytest.approx(left, rel=0.05)


def test_evaluation_is_counted_apart() -> None:
    state = state_of(start(), windows(2), [steps(9, 7, phase="test")])
    assert state.totals["test"].steps == 7
    assert state.train.steps == 55


def test_examples_per_second_with_and_without_a_fixed_batch() -> None:
    fixed = state_of(start(), windows(9))
    assert fixed.examples_per_s(fixed.judged) == pytest.approx(3200, rel=0.05)
    ragged: list[ev.Event] = [steps(3 + i, examples=None, batch_size=None) for i in range(3)]
    state = state_of(start(), [ev.Dataset(t=T0, kind="tf.data", batch_size=64)], ragged)
    assert state.examples_per_s(state.judged) == pytest.approx(6400, rel=0.05)
    unknown = state_of(start(), ragged)
    assert unknown.examples_per_s(unknown.judged) is None
    for strategy in (None, "_DefaultDistributionStrategy"):  # a fit without one names the second
        small = ev.Dataset(t=T0, kind="arrays", batch_size=8, strategy=strategy)
        both = state_of(start(), [small], ragged, [replace(small, batch_size=800)], ragged)
        assert both.examples_per_s(both.judged) == pytest.approx(40400, rel=0.05), "the sum, not the last fit's"
    replicas = state_of(start(), [replace(small, batch_size=64, strategy="MirroredStrategy")], windows(9))
    assert replicas.examples_per_s(replicas.judged) == pytest.approx(6400, rel=0.05), "a step shows one replica's part"


def test_what_is_predicted_after_a_training_is_not_what_it_trained_on() -> None:
    """A loop of the script's own over arrays tells no dataset; a predict after it tells its own."""
    predicted = ev.Dataset(t=T0, kind="arrays", batch_size=500, phase="predict")
    loop: list[ev.Event] = [steps(3 + i, examples=None, batch_size=None, loop="eager") for i in range(3)]
    trained = state_of(start(), loop, [predicted])
    assert trained.dataset is None and trained.batch_size is None
    assert state_of(start(), [predicted]).batch_size == 500


def test_environment_merges_without_forgetting() -> None:
    state = state_of(start())
    assert (state.environment.cpu_count, state.environment.tensorflow) == (2, "2.21.0")


def test_a_gpu_keeps_what_a_sample_leaves_out() -> None:
    process: GpuProcess = {"pid": 4711, "memory_bytes": 5, "ours": True}
    full: Gpu = {"index": 0, "uuid": "GPU-a", "name": "H200", "busy_percent": 30, "processes": [process]}
    lean: Gpu = {"index": 0, "uuid": "GPU-a", "busy_percent": 40}
    state = state_of([ev.GpuSample(t=T0, gpus=[full]), ev.GpuSample(t=T0 + 1, gpus=[lean])])
    view = state.gpus["GPU-a"]
    assert (view.name, view.ours, view.latest["processes"]) == ("H200", True, [process])
    assert view.busy.mean() == pytest.approx(35.0)


def test_measured_stages_are_not_replaced_by_a_mere_graph() -> None:
    state = state_of(start(), pipeline(), [ev.Pipeline(t=T0 + 9, source="graph", note="autotune is off")])
    assert state.pipeline is not None
    assert state.pipeline.source == "model_proto"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ([], "training"),
        ([ev.Phase(t=T0, phase="importing")], "importing TensorFlow"),
        ([steps(3, 7)], "warming up: 7 of 20 steps"),
        ([ev.Stopping(t=T0 + 1, stage="batch")], "stopping after this batch"),
        ([ev.RunEnded(t=T0 + 1, exit_code=0)], "finished"),
        ([ev.RunEnded(t=T0 + 1, exit_code=3)], "failed, exit 3"),
        ([ev.RunEnded(t=T0 + 1, signal=9)], "ended by SIGKILL"),
        ([ev.Stopping(t=T0 + 1, stage="batch"), ev.RunEnded(t=T0 + 1, exit_code=0)], "stopped early"),
        ([ev.RunEnded(t=T0 + 1, exit_code=0, stopped="user", steps=60)], "stopped after 60 steps"),
        ([ev.RunEnded(t=T0 + 1, signal=2, stopped="stop-after", steps=1)], "stopped after 1 step"),
        ([ev.RunEnded(t=T0 + 1, exit_code=0, stopped="rerun", steps=60)], "stopped for a rerun"),
        ([ev.RunEnded(t=T0 + 1, signal=9, stopped="user")], "stopped, by SIGKILL"),
        ([ev.RunEnded(t=T0 + 1, exit_code=3, stopped="user", steps=60)], "stopped after 60 steps, exit 3"),
    ],
)
def test_the_status_says_what_the_run_does(more: list[ev.Event], words: str) -> None:
    assert state_of(start(), more).activity() == words


@pytest.mark.parametrize(
    ("more", "signal", "closed_by"),
    [
        ([ev.Stopping(t=T0 + 1, stage="batch"), ev.Phase(t=T0 + 2, phase="exiting", ends_with=-2)], 2, None),
        ([ev.Stopping(t=T0 + 1, stage="interrupt"), ev.Phase(t=T0 + 2, phase="exiting", ends_with=-2)], 2, None),
        ([ev.Phase(t=T0 + 1, phase="exiting", ends_with=0), ev.Stopping(t=T0 + 2, stage="interpreter")], 15, 15),
        ([ev.Phase(t=T0 + 1, phase="exiting", ends_with=0), ev.Stopping(t=T0 + 2, stage="interpreter")], 11, None),
        ([ev.Phase(t=T0 + 1, phase="exiting", ends_with=0)], 15, None),
    ],
)
def test_an_interpreter_that_we_ended_is_told_from_one_that_died(
    more: list[ev.Event], signal: int, closed_by: int | None
) -> None:
    assert state_of(start(), more).closed_by(signal) == closed_by


def test_hostile_numbers_of_names_are_bounded() -> None:
    metrics: list[ev.Event] = [ev.Metrics(t=T0 + i, step=i, values={f"m{i}": 1.0}) for i in range(1000)]
    hooks: list[ev.Event] = [ev.HookOff(t=T0, hook=f"h{i}", reason="x") for i in range(1000)]
    state = state_of(metrics, hooks)
    assert len(state.metric_series) <= 32
    assert len(state.hooks_off) <= 64


def test_a_metric_that_is_no_number_is_kept_as_text() -> None:
    state = state_of([ev.Metrics(t=T0, step=1, values={"loss": "nan"})])
    assert state.metrics["loss"] == "nan"
    assert "loss" not in state.metric_series


def test_a_rerun_that_was_taken_back_leaves_a_stop() -> None:
    state = fold([ev.Stopping(t=1.0, stage="batch", reason="rerun")])
    assert state.stopped(0, None) == "rerun"
    state.apply(ev.Rerun(t=2.0, state="taken_back"))
    assert state.stopped(0, None) == "user"
