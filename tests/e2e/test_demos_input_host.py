"""The demos of waiting for input and for the host (families C and D), run as a user does: each names its cause."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_demos import DEMO, finding, has_stage_times, headless, needs_keras_3, weighty
from tests.timed import timed

pytestmark = timed

Report = dict[str, Any]
Run = Callable[..., Report]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`run(demo, epochs, *options)`: the report of that demo."""
    variables = {**os.environ, "TFGPU_TUI_STATE_DIR": str(tmp_path / "state"), "TF_CPP_MIN_LOG_LEVEL": "3"}

    def call(demo: str, epochs: int, *options: str) -> Report:
        report, done = headless(variables, tmp_path / "r.json", *options, str(DEMO / demo), str(epochs))
        if demo == "pydataset_single.py":
            needs_keras_3("no PyDataset")
        assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
        assert report["monitor"]["hooks_off"] == []
        return report

    return call


def test_a_healthy_loop_of_ones_own_has_no_warning(run: Run) -> None:
    report = run("healthy_loop.py", 3)
    assert weighty(report) == []
    assert report["training"]["loop"] == "custom"
    assert report["training"]["judged_steps"] >= 20, "nothing was judged: the test would pass for nothing"


def test_a_pydataset_with_one_worker(run: Run) -> None:
    report = run("pydataset_single.py", 3)
    assert weighty(report) == ["input.bound", "input.pydataset_single"]
    assert finding(report, "input.pydataset_single")["evidence"]["getitem_ms"] > 1.0
    assert "workers=4" in finding(report, "input.bound")["next"]


def test_a_pipeline_without_prefetch(run: Run) -> None:
    report = run("no_prefetch.py", 3)
    assert weighty(report) == ["input.bound", "input.no_prefetch"]
    assert finding(report, "input.bound")["knob"] == "input=prefetch"
    why = "autotune is off" if has_stage_times(report) else "no live model"
    assert why in report["unknown"]["pipeline"]


def test_a_shuffle_buffer_that_fills_before_each_epoch(run: Run) -> None:
    report = run("shuffle_refill.py", 4)
    assert weighty(report)[0] == "input.shuffle_refill"
    evidence = finding(report, "input.shuffle_refill")["evidence"]
    assert evidence["buffer_size"] == 1797
    assert evidence["pause_ms"] > 5 * report["training"]["step_ms"]["p50"]


@pytest.mark.slow
def test_a_generator_that_begins_with_reading_all_of_its_data(run: Run) -> None:
    report = run("epoch_start.py", 5)
    assert weighty(report)[0] == "input.epoch_start"
    evidence = finding(report, "input.epoch_start")["evidence"]
    assert evidence["epochs"] == 4 and evidence["pause_ms"] > 250


def test_remote_storage(run: Run) -> None:
    report = run("remote_files.py", 2)
    cause = finding(report, "input.storage")
    assert "download" in json.dumps(cause["evidence"]["stage"])
    assert max(cause["evidence"]["disk_read_bytes_per_s"] or 0, cause["evidence"]["net_received_bytes_per_s"]) > 0


@pytest.mark.slow
def test_one_core_for_the_whole_job(run: Run) -> None:
    report = run("cpu_starved.py", 2)
    assert report["environment"]["cpu_count"] == 1, "the cores that the script has, not those of the machine"
    # Its only core is full, whoever else may use it meanwhile.
    assert weighty(report) == ["input.bound", "input.cpu_starved"]
    assert finding(report, "input.cpu_starved")["evidence"]["granted_cores_busy_percent"] >= 85


def test_a_function_that_is_traced_at_each_step(run: Run) -> None:
    report = run("retracing.py", 2)
    cause = finding(report, "host.retracing")
    assert cause["severity"] == "critical"
    assert (cause["evidence"]["kind"], cause["evidence"]["argument"]) == ("value", "rate")
    assert cause["evidence"]["traces"] >= 50
    assert report["training"]["retraces"][0]["function"] == "train_step"


@pytest.mark.slow
def test_xla_that_compiles_for_each_new_shape(run: Run) -> None:
    cause = finding(run("xla_recompile.py", 2), "host.xla_recompile")
    assert cause["incomplete"] is not None
    assert cause["evidence"]["spike_ms"] > 4 * cause["evidence"]["usual_ms"]


def test_a_validation_that_takes_longer_than_the_training(run: Run) -> None:
    report = run("long_validation.py", 5)
    assert weighty(report)[0] == "host.validation"
    assert "validation_freq" in finding(report, "host.validation")["next"]


def test_a_loop_that_logs_in_python(run: Run) -> None:
    report = run("slow_logging.py", 5)
    assert weighty(report) == ["host.python"]
    assert report["training"]["loop"] == "custom"


def test_fit_in_a_loop(run: Run) -> None:
    report = run("fit_in_loop.py", 15)
    assert weighty(report)[0] == "host.fit_in_loop"
    assert finding(report, "host.fit_in_loop")["evidence"]["steps_per_fit"] == 10
    assert report["training"]["fit_calls"]["count"] == 15


@pytest.mark.slow
def test_predict_for_each_row(run: Run) -> None:
    report = run("predict_in_loop.py", 3)
    assert weighty(report)[0] == "host.predict_in_loop"
    evidence = finding(report, "host.predict_in_loop")["evidence"]
    assert evidence["batches_per_call"] == 1
    assert evidence["place"]["function"] == "best_values"


@pytest.mark.slow
def test_free_input_is_measured_and_its_metrics_are_marked(run: Run) -> None:
    report = run("slow_map.py", 2, "--set", "input=synthetic")
    assert report["run"]["knobs_in_force"]["input"] == "synthetic"
    assert report["training"]["metrics_meaningless"] is not None
    assert report["training"]["epochs"] == 2
    assert report["phases"]["input_wait"] < 0.3, "with the script's own input it is more than 0.8"


def test_epochs_that_are_shorter_than_they_were_meant_to_be(run: Run) -> None:
    report = run("ran_out.py", 4)
    lost = finding(report, "input.ran_out")
    assert lost["evidence"] == {
        "epochs": 4, "short_epochs": 2, "empty_epochs": 0, "planned_steps": 30, "most_steps": 30,
        "first_short": {"epoch": 2, "steps": 27},
    }  # fmt: skip
    assert ".repeat()" in lost["next"]


def test_a_step_that_xla_can_not_compile(tmp_path: Path, run: Run) -> None:
    """And without XLA it trains: Keras compiles on request on a machine without a GPU, too."""
    demo = DEMO / "xla_unsupported.py"
    variables = {**os.environ, "TFGPU_TUI_STATE_DIR": str(tmp_path / "state")}
    report, done = headless(variables, tmp_path / "r.json", str(demo), "1")
    assert done.returncode == 1
    assert weighty(report) == ["xla.unsupported_op"]
    refused = finding(report, "xla.unsupported_op")
    call = next(n for n, line in enumerate(demo.read_text().splitlines(), 1) if "ImageProjectiveTransformV3(" in line)
    assert (refused["evidence"]["op"], refused["evidence"]["layer"]) == ("ImageProjectiveTransformV3", "turned")
    assert (Path(refused["evidence"]["file"]).name, refused["evidence"]["line"]) == (demo.name, call)
    option, value = "--set", refused["knob"]
    assert "xla.unsupported_op" not in weighty(run(demo.name, 1, option, value))


def test_a_loss_that_left_the_numbers(run: Run) -> None:
    lost = finding(run("nan_loss.py", 20), "run.nan_loss")
    assert lost["severity"] == "critical" and lost["evidence"]["value"] == "nan" and lost["knob"] is None
