"""Before and after, with noise."""

import json

from tests.journals import pipeline, start, state_of, windows
from tfgpu_tui.core import events as ev
from tfgpu_tui.core.state import RunState
from tfgpu_tui.report import compare, report_json


def run(wait: float = 0.0, step_ms: float = 10.0, count: int = 40, **knobs: str) -> RunState:
    return state_of(start(knobs, run_id=f"run-{step_ms:g}"), windows(count, wait, step_ms), pipeline())


def test_a_real_gain_is_said_in_one_sentence() -> None:
    before, after = run(wait=0.6, step_ms=20), run(step_ms=8, memory_growth="on")
    assert compare.ready(before, after)
    assert compare.sentence(before, after) == "input-bound 60 % → compute-bound; 2.5x faster."
    speed = next(r for r in compare.rows(before, after) if r.label == "step time")
    assert speed.better is True
    assert speed.change == "-60.0 %"


def test_a_change_within_the_noise_is_not_a_change() -> None:
    sentence = compare.sentence(run(step_ms=10.0), run(step_ms=10.1))
    assert "did not change beyond the noise" in sentence
    assert next(r for r in compare.rows(run(step_ms=10.0), run(step_ms=10.1)) if r.label == "step time").better is None


def test_slower_is_said_as_slower() -> None:
    assert compare.sentence(run(step_ms=8), run(step_ms=20)).endswith("2.5x slower.")


def test_too_few_steps_are_not_compared() -> None:
    assert not compare.ready(run(), run(count=3))
    assert "second run has too few steps" in compare.sentence(run(), run(count=3))


def test_knobs_stand_first() -> None:
    row = compare.rows(run(), run(memory_growth="on"))[0]
    assert (row.label, row.before, row.after, row.change) == ("memory_growth", "script", "on", "changed")


def test_the_table_and_the_json_hold_every_row() -> None:
    a, b = run(wait=0.5), run()
    text = compare.text(a, b)
    data = json.loads(json.dumps(compare.as_json(a, b), allow_nan=False))
    assert data["beyond_noise"] is False
    for row in compare.rows(a, b):
        assert row.label in text
        assert vars(row) in data["rows"]


def test_empty_runs_compare_as_unknown() -> None:
    text = compare.text(RunState(), RunState())
    assert "Not comparable yet" in text
    assert "–" in text


def test_free_input_is_said_from_two_measured_runs_without_metrics() -> None:
    values: dict[str, float | str] = {"loss": 0.5}
    own, free = run(wait=0.6, step_ms=20), run(step_ms=8, input="synthetic")
    for state in (own, free):
        state.apply(ev.Metrics(t=state.now, step=900, values=values))
    sentence = compare.sentence(own, free)
    assert sentence.startswith("With free input this model would run 2.5x faster")
    assert compare.sentence(free, own) == sentence
    assert not any("loss" in row.label for row in compare.rows(own, free))
    assert any("loss" in row.label for row in compare.rows(own, own))
    assert compare.sentence(run(step_ms=8), free).startswith("Free input would not make")


def test_metrics_mean_something_where_the_knob_did_nothing() -> None:
    state = run(input="synthetic")
    assert state.metrics_meaningless is not None
    assert report_json.build(state)["training"]["metrics_meaningless"] == state.metrics_meaningless
    state.apply(ev.Knobs(t=state.now, in_force={"input": "script"}, notes={"input": "no tf.data pipeline"}))
    assert state.metrics_meaningless is None
    assert run().metrics_meaningless is None


def replicated(count: int, step_ms: float) -> RunState:
    """A fit of batches of 64 on so many GPUs; a step sees the part of one of them."""
    strategy = "MirroredStrategy" if count > 1 else None
    told: list[ev.Event] = [
        ev.Model(t=2.0, src="agent", pid=4711, name="m", replicas=count),
        ev.Dataset(t=2.0, src="agent", pid=4711, kind="tf.data", batch_size=64, strategy=strategy),
    ]
    return state_of(start({}), told, windows(40, 0.0, step_ms, batch_size=64 // count, examples=1600 // count))


def test_more_replicas_are_told_by_what_each_of_them_does() -> None:
    one, two = replicated(1, 10.0), replicated(2, 8.0)
    assert (one.batch_size, two.batch_size) == (64, 64)
    assert "2 replicas process 1.2x the examples of one: scaling efficiency 62 %" in compare.sentence(one, two)
    assert compare.as_json(two, one)["scaling"]["replicas"] == [1, 2], "in this order, whichever came first"
    labels = {row.label: (row.before, row.after) for row in compare.rows(one, two)}
    assert labels["replicas"] == ("1", "2") and labels["batch of a replica"] == ("64", "32")


def test_two_gpus_that_are_no_faster() -> None:
    assert "no more examples than one: scaling efficiency 50 %" in compare.sentence(
        replicated(1, 10.0), replicated(2, 9.95)
    )
    assert compare.as_json(replicated(2, 10.0), replicated(2, 8.0))["scaling"] is None


def test_the_same_step_time_with_twice_the_batch_is_twice_the_work() -> None:
    one, two = replicated(1, 10.0), replicated(2, 10.0)
    two.apply(ev.Dataset(t=3.0, src="agent", pid=4711, kind="tf.data", batch_size=128, strategy="MirroredStrategy"))
    assert "2 replicas process 2x the examples of one: scaling efficiency 100 %" in compare.sentence(one, two)
