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
