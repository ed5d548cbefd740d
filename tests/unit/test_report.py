"""report.json is a contract: its shape, its sums, its reasons for what is unknown."""

import json
from typing import Any

from tests.journals import T0, pipeline, start, state_of, steps, windows
from tfgpu_tui.core import events as ev
from tfgpu_tui.core.rows import Layer
from tfgpu_tui.core.state import RunState
from tfgpu_tui.report import report_json
from tfgpu_tui.report.plain import status_line

SHAPE = {
    "run": {"id", "argv", "cwd", "exit_code", "signal", "started", "ended", "wall_s", "knobs"},
    "environment": {"python", "tensorflow", "keras", "keras_flavour", "backend", "gpus", "cpu_count", "cpu_quota"},
    "training": {"processes", "steps", "executions", "epochs", "batch_size", "step_ms", "examples_per_s", "loop"},
    "phases": {"input_wait", "compute", "host"},
    "memory": {"host_peak_mib", "host_growth_kib_per_step", "growing", "gpu"},
    "cpu": {"mean_percent", "process_tree_mean_percent", "busiest_core_percent"},
    "monitor": {"agent_us_per_step", "dropped", "hooks_off", "faults"},
}


def built(*parts: list[ev.Event]) -> dict[str, Any]:
    """The report, through JSON as a script would read it."""
    data: dict[str, Any] = json.loads(json.dumps(report_json.build(state_of(*parts)), allow_nan=False))
    return data


def test_the_documented_shape_holds_for_a_full_and_for_an_empty_run() -> None:
    for data in (built(start(), windows(20, wait=0.3), pipeline()), built([])):
        assert data["schema"] == 1
        for part, keys in SHAPE.items():
            assert keys <= data[part].keys()
        assert isinstance(data["pipeline"], list)
        assert isinstance(data["placement"], list)
        assert isinstance(data["findings"], list)
        assert isinstance(data["gpus"], list)


def test_phases_sum_to_one_exactly() -> None:
    for wait in (0.0, 1 / 3, 0.123456789, 0.95):
        phases = built(start(), windows(20, wait=wait))["phases"]
        assert round(sum(phases.values()), 9) == 1.0


def test_unknown_is_null_with_a_reason() -> None:
    data = built(start(), [ev.RunEnded(t=T0 + 3, exit_code=0, wall_s=3.0)])
    assert data["phases"]["input_wait"] is None
    assert data["training"]["step_ms"]["mean"] is None
    assert "looked for fit" in data["unknown"]["phases"]
    assert data["unknown"]["gpus"] == "libnvidia-ml.so.1 is not installed"


def test_the_text_reads_like_a_report() -> None:
    text = report_json.text(
        built(start(), windows(20, wait=0.61), pipeline(), [ev.RunEnded(t=T0 + 9, exit_code=0, wall_s=9)])
    )
    assert "505 steps" in text
    assert "input wait 61 %" in text
    assert "Map load_image (data.py:41)" in text
    assert "critical  Input-bound: 61 % of each step waits for data  [input.bound]" in text


def test_an_empty_run_has_a_text_too() -> None:
    assert "still running" in report_json.text(report_json.build(RunState()))


def test_hostile_names_stay_text() -> None:
    row: Layer = {
        "layer": "evil\x1b[2J",
        "class": "Dense",
        "depth": 0,
        "forward": {"CPU\x1b]0;x\x07": 3},
        "backward": {},
    }
    assert "\x1b" not in report_json.text(built(start(), windows(9), [ev.Placement(t=T0 + 4, layers=[row])]))


def test_calls_of_a_function_that_holds_the_whole_training_are_no_steps() -> None:
    """Its steps can't be seen: the words say what was counted."""
    held = ev.UnrolledLoop(
        t=T0 + 5, function="fit_all", file="/home/u/train.py", line=9, copies=30, ops=9000, seconds=6.0, updates=30
    )
    one = steps(3.0, 1, 60_000.0, loop="custom")
    state = state_of(start(), [held, one])
    assert report_json.steps_words(report_json.build(state)["training"]) == (
        "1 call of fit_all, 30 updates of weights each"
    )
    assert "call 1," in status_line(state)
    plain = state_of(start(), [one])
    assert report_json.steps_words(report_json.build(plain)["training"]) == "1 step"
    assert "step 1," in status_line(plain)
