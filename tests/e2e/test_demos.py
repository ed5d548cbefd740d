"""The whole path, as a user runs it: each demo through the command line, judged by its report.

Real TensorFlow, real images, real processes. Each demo must show what it is named for, and nothing else of weight.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.installed import version_of
from tests.timed import timed

pytestmark = timed

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "demo"
IMAGES = 1797


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The user's environment with a state folder of its own."""
    yield {**os.environ, "TFGPU_TUI_STATE_DIR": str(tmp_path / "state"), "TF_CPP_MIN_LOG_LEVEL": "3"}


def headless(
    environment: dict[str, str], report: Path, *command: str
) -> tuple[dict[str, Any], subprocess.CompletedProcess[bytes]]:
    """Runs `tfgpu-tui --headless --report-json report …` to its end."""
    tool = [sys.executable, "-m", "tfgpu_tui", "--python", sys.executable, "--headless", "--report-json", str(report)]
    done = subprocess.run([*tool, *command], env=environment, capture_output=True, timeout=240, check=False, cwd=ROOT)
    assert report.exists(), done.stderr.decode(errors="replace")
    data: dict[str, Any] = json.loads(report.read_text())
    account = data["account"]
    if account is not None:
        assert sum(part["seconds"] for part in account["parts"]) == pytest.approx(account["wall_s"], rel=0.01)
        unknown = [part["share"] for part in account["parts"] if part["part"] == "unknown"]
        assert sum(unknown) <= 0.05, account
    return data, done


def weighty(report: dict[str, Any]) -> list[str]:
    return [f["id"] for f in report["findings"] if f["severity"] != "info"]


def finding(report: dict[str, Any], name: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = [f for f in report["findings"] if f["id"] == name]
    assert found, report["findings"]
    return found[0]


def has_stage_times(report: dict[str, Any]) -> bool:
    """Whether this run's TensorFlow tells how long each stage of tf.data takes: from 2.17 on."""
    return tuple(int(part) for part in report["environment"]["tensorflow"].split(".")[:2]) >= (2, 17)


def needs_keras_3(why: str) -> None:
    """Skips the test of a demo that is about what only Keras 3 has, or no longer has. The demos import `keras`, in the
    interpreter that runs the tests."""
    version = version_of("keras")
    if not version.startswith("3"):
        pytest.skip(f"Keras {version}: {why}")


def words(stdout: bytes) -> list[str]:
    """Keras' output without what differs from run to run: how often its bar was drawn, times and metric values."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", stdout.decode())
    last_frames = [line.rsplit("\r", 1)[-1].rstrip() for line in text.replace("\x08", "").split("\n")]
    return [re.sub(r"\d+(\.\d+)?(e-\d+)?(us|ms|s)?", "N", line) for line in last_frames if line]


def test_slow_map_names_its_stage_with_file_and_line(environment: dict[str, str], tmp_path: Path) -> None:
    script = DEMO / "slow_map.py"
    report, done = headless(environment, tmp_path / "r.json", str(script), "3")
    assert done.returncode == 0
    assert report["run"]["exit_code"] == 0

    batches = -(-IMAGES // 32)
    assert (report["training"]["steps"], report["training"]["epochs"]) == (3 * batches, 3)
    assert report["training"]["batch_size"] == 32
    assert round(sum(report["phases"].values()), 9) == 1.0

    bound = finding(report, "input.bound")
    assert report["findings"][0]["id"] == "input.bound"
    assert bound["severity"] == "critical"
    timed = has_stage_times(report)
    assert all((stage["self_ms"] is not None) == timed for stage in report["pipeline"] if stage["stage"] == "Map")
    if timed:
        # On a machine whose cores others use, too, it can't be told whether the function computes or waits.
        assert {"input.slow_stage", "input.python"} & set(weighty(report))
        stage = bound["evidence"]["stage"]
    else:
        # What is written in the script is known: that Python runs in the map, and where. That it takes the time is not.
        assert weighty(report) == ["input.bound", "input.python"]
        assert all(stage["per_batch_ms"] is None and stage["share"] is None for stage in report["pipeline"])
        assert "no live model" in report["unknown"]["pipeline"]
        assert any("slowest stage unknown" in said for said in bound["lines"])
        suspect = finding(report, "input.python")
        assert "no live model" in suspect["incomplete"] and suspect["next"] == bound["next"]
        stage = suspect["evidence"]["stage"]
    lines = script.read_text().splitlines()
    definition = next(i for i, line in enumerate(lines, 1) if line.startswith("def load_image"))
    python = next(i for i, line in enumerate(lines, 1) if line.startswith("def decode_with_pillow"))
    assert stage["file"].endswith("slow_map.py")
    assert stage["line"] in (definition, python)
    assert f"slow_map.py:{stage['line']}" in done.stderr.decode()

    plain = subprocess.run(
        [sys.executable, str(script), "3"], env=environment, capture_output=True, timeout=240, check=False, cwd=ROOT
    )
    assert words(done.stdout) == words(plain.stdout)
    assert any("Epoch" in line for line in words(plain.stdout))


def test_a_healthy_run_has_no_warning(environment: dict[str, str], tmp_path: Path) -> None:
    report, done = headless(environment, tmp_path / "r.json", str(DEMO / "healthy.py"), "4")
    assert done.returncode == 0
    assert weighty(report) == []
    assert report["training"]["judged_steps"] >= 20, "nothing was judged: the test would pass for nothing"
    assert report["phases"]["compute"] > 0.5
    names = [row["layer"].split("/")[-1] for row in report["placement"]]
    positions = [names.index(n) for n in ("edges", "pool", "shapes", "flatten", "hidden", "digit")]
    assert positions == sorted(positions)
    assert all(set(row["forward"]) <= {"CPU:0"} for row in report["placement"])
    assert report["monitor"]["hooks_off"] == []
    assert report["monitor"]["faults"] == []


def test_a_generator_is_named(environment: dict[str, str], tmp_path: Path) -> None:
    report, _ = headless(environment, tmp_path / "r.json", str(DEMO / "python_generator.py"), "4")
    bound = finding(report, "input.bound")
    assert weighty(report) == ["input.bound", "input.python"]
    assert "rotated_batches" in json.dumps(bound)
    assert "PyDataset" in bound["next"]


def test_a_slow_callback_is_named(environment: dict[str, str], tmp_path: Path) -> None:
    report, _ = headless(environment, tmp_path / "r.json", str(DEMO / "slow_callback.py"), "4")
    assert weighty(report) == ["host.callbacks"]
    assert "WeightHistory" in finding(report, "host.callbacks")["next"]


def test_the_pinned_layer_shows_its_device(environment: dict[str, str], tmp_path: Path) -> None:
    report, _ = headless(environment, tmp_path / "r.json", str(DEMO / "two_devices.py"), "2")
    rows = {row["layer"].split("/")[-1]: row for row in report["placement"]}
    inner = next(row for row in report["placement"] if "on_second" in row["layer"] and row["layer"].endswith("dense"))
    assert set(inner["forward"]) == {"CPU:1"}
    assert "CPU:1" in rows["on_second"]["forward"] or "CPU:1" in inner["forward"]
    assert set(rows["edges"]["forward"]) == {"CPU:0"}
    assert not [name for name in weighty(report) if name.startswith("place.")]


def test_an_eager_loop_is_called_eager(environment: dict[str, str], tmp_path: Path) -> None:
    report, _ = headless(environment, tmp_path / "r.json", str(DEMO / "custom_loop.py"), "3")
    assert report["training"]["steps"] == 3 * -(-IMAGES // 32)
    assert report["training"]["loop"] == "eager"
    assert "host.eager" in weighty(report)


def test_a_debugging_switch_that_is_on_is_named(environment: dict[str, str], tmp_path: Path) -> None:
    report, _ = headless(environment, tmp_path / "r.json", str(DEMO / "check_numerics.py"), "8")
    debugging = finding(report, "host.debugging")
    assert debugging["severity"] == "warning"
    assert "check_numerics.py:15" in debugging["lines"][0]
    assert debugging["evidence"]["step_ms"] > 0


def test_a_failing_script_keeps_its_status_and_shows_its_line(environment: dict[str, str], tmp_path: Path) -> None:
    script = tmp_path / "broken.py"
    script.write_text(
        "import tensorflow as tf\n\ndef build():\n    return tf.matmul(tf.ones((2, 3)), tf.ones((2, 3)))\n\nbuild()\n"
    )
    report, done = headless(environment, tmp_path / "r.json", str(script))
    assert done.returncode == 1
    failed = finding(report, "run.failed")
    assert failed["evidence"]["file"] == str(script)
    assert failed["evidence"]["line"] == 4
    assert b"Traceback" in done.stderr


def test_what_keeps_growing_is_named(environment: dict[str, str], tmp_path: Path) -> None:
    report, done = headless(environment, tmp_path / "r.json", str(DEMO / "memory_leak.py"))
    assert done.returncode == 0
    leak = finding(report, "memory.host_growth")
    assert leak["evidence"]["kib_per_step"] == pytest.approx(
        256, rel=0.15
    )  # tensors are padded, and TensorFlow grows too
    assert "KeepPredictions.history" in leak["lines"][0]
    assert report["memory"]["growing"] is True


def test_an_old_call_is_answered_with_todays(environment: dict[str, str], tmp_path: Path) -> None:
    report, done = headless(environment, tmp_path / "r.json", str(DEMO / "old_keras.py"))
    needs_keras_3("fit_generator still works")
    assert done.returncode == 1
    gone = finding(report, "run.legacy_api")
    assert report["findings"][0] == gone
    assert "fit_generator" in gone["title"] and "model.fit(generator)" in gone["next"]
    assert "old_keras.py:" in gone["next"]


def test_running_out_of_memory_is_named_from_the_exception(environment: dict[str, str], tmp_path: Path) -> None:
    report, done = headless(environment, tmp_path / "r.json", str(DEMO / "out_of_memory.py"))
    assert done.returncode == 1
    failed = finding(report, "memory.oom")
    assert report["findings"][0] == failed
    assert failed["evidence"]["shape"] == [1024, 1 << 30]
    assert weighty(report) == ["memory.oom", "run.failed"]


def test_a_script_that_does_not_train_says_so(environment: dict[str, str], tmp_path: Path) -> None:
    report, done = headless(environment, tmp_path / "r.json", str(DEMO / "no_training.py"))
    assert done.returncode == 0
    assert "10 test steps" in finding(report, "run.no_steps")["lines"][0]
    assert weighty(report) == []


def test_a_crashed_child_is_said_though_the_script_ended_well(environment: dict[str, str], tmp_path: Path) -> None:
    report, done = headless(environment, tmp_path / "r.json", str(DEMO / "failing_child.py"))
    assert done.returncode == 0
    failed = finding(report, "run.failed")
    assert (failed["evidence"]["exit_code"], failed["evidence"]["children"]) == (0, 1)
    assert report["findings"][0] == failed


@pytest.mark.slow
def test_deterministic_results_are_named_with_their_line(environment: dict[str, str], tmp_path: Path) -> None:
    script = str(DEMO / "deterministic.py")
    report, done = headless(environment, tmp_path / "r.json", script, "2")
    assert done.returncode == 0, done.stderr.decode()
    named = finding(report, "host.determinism")
    assert "deterministic.py:17" in named["lines"][0] and named["knob"] == "determinism=off"
    assert report["run"]["knobs_in_force"]["determinism"] == "on"
    report, done = headless(environment, tmp_path / "r.json", "--set", "determinism=off", script, "2")
    assert done.returncode == 0
    assert report["run"]["knobs_in_force"]["determinism"] == "off"
    assert "host.determinism" not in [f["id"] for f in report["findings"]]


@pytest.mark.slow
def test_keras_3_over_two_workers_is_named_and_over_one_it_trains(environment: dict[str, str], tmp_path: Path) -> None:
    needs_keras_3("Keras 2 can do it")
    report, done = headless(environment, tmp_path / "r.json", str(DEMO / "multi_worker.py"))
    assert done.returncode == 1
    failed = finding(report, "run.multi_worker_keras3")
    assert report["findings"][0] == failed and failed["evidence"]["workers"] == 2
    assert weighty(report) == ["run.multi_worker_keras3"]
    report, done = headless(environment, tmp_path / "r.json", str(DEMO / "multi_worker.py"), "1")
    assert done.returncode == 0 and report["training"]["steps"] == 80
    assert "run.multi_worker_keras3" not in [f["id"] for f in report["findings"]]


@pytest.mark.slow
def test_a_loop_that_tracing_unrolled_is_named(environment: dict[str, str], tmp_path: Path) -> None:
    report, _ = headless(environment, tmp_path / "r.json", str(DEMO / "unrolled_loop.py"), "2")
    assert weighty(report) == ["compute.unrolled"]
    evidence = finding(report, "compute.unrolled")["evidence"]
    source = (DEMO / "unrolled_loop.py").read_text().split("\n")
    assert source[evidence["line"] - 1].strip() == "for row in range(ROWS):"
    assert evidence["copies"] == pytest.approx(32, rel=0.2)
    twin, _ = headless(environment, tmp_path / "t.json", str(DEMO / "unrolled_loop.py"), "2", "rnn")
    assert weighty(twin) == []


def test_a_metric_in_python_is_named(environment: dict[str, str], tmp_path: Path) -> None:
    report, _ = headless(environment, tmp_path / "r.json", str(DEMO / "python_metric.py"), "10")
    assert "compute.python" in weighty(report)
    named = finding(report, "compute.python")["evidence"]["functions"]
    assert [(f["name"], f["kind"]) for f in named] == [("best_of_three", "numpy_function")]
    assert named[0]["file"] == str(DEMO / "python_metric.py")
    twin, _ = headless(environment, tmp_path / "t.json", str(DEMO / "python_metric.py"), "10", "keras")
    assert "compute.python" not in weighty(twin)


@pytest.mark.slow
def test_a_layer_that_loops_over_the_batch_is_named(environment: dict[str, str], tmp_path: Path) -> None:
    script = ["--set", "profile=5", str(DEMO / "one_by_one.py"), "20"]
    report, _ = headless(environment, tmp_path / "r.json", *script)
    found = finding(report, "compute.layer")["evidence"]
    assert (found["layer"], found["reason"], found["turns"]) == ("contrast", "loop_over_batch", 64)
    assert "compute.layer" in weighty(report)
    twin, _ = headless(environment, tmp_path / "t.json", *script, "batch")
    assert twin["compute"] is not None and "compute.layer" not in weighty(twin)


def test_an_update_of_a_whole_table_is_named(environment: dict[str, str], tmp_path: Path) -> None:
    script = ["--set", "profile=5", str(DEMO / "sparse_update.py"), "2"]
    report, _ = headless(environment, tmp_path / "r.json", *script)
    found = finding(report, "compute.optimizer")["evidence"]
    assert (found["reason"], found["optimizer"]) == ("whole_tables", "Adam")
    assert (found["tables"][0]["rows"], found["tables"][0]["slots"]) == (100_000, 2)
    assert "compute.optimizer" in weighty(report)
    twin, _ = headless(environment, tmp_path / "t.json", *script, "sgd")
    assert twin["compute"] is not None and "compute.optimizer" not in weighty(twin)


def test_half_precision_on_a_cpu_is_named_with_its_line(environment: dict[str, str], tmp_path: Path) -> None:
    report, _ = headless(environment, tmp_path / "r.json", str(DEMO / "half_on_cpu.py"), "2")
    if "float16" in (report["environment"]["cpu_half"] or ["float16"]):
        pytest.skip("this CPU has arithmetic for float16, or does not say")
    found = finding(report, "precision.slow_on_cpu")
    assert found["evidence"]["set_by"].startswith("set_global_policy(mixed_float16) at demo/half_on_cpu.py:")
    again = [str(DEMO / "half_on_cpu.py"), "2"]
    twin, _ = headless(environment, tmp_path / "t.json", "--set", "precision=float32", *again)
    assert weighty(twin) == []


@pytest.mark.slow
def test_a_forked_worker_that_uses_tensorflow_hangs_and_is_named(environment: dict[str, str], tmp_path: Path) -> None:
    needs_keras_3("a PyDataset")
    script = str(DEMO / "stalled_worker.py")
    report, _ = headless(environment, tmp_path / "r.json", "--stall-after", "5", script, "25")
    stalled = finding(report, "run.stalled")
    assert (stalled["severity"], stalled["evidence"]["cause"]) == ("critical", "forked_worker")
    assert stalled["evidence"]["place"].startswith("demo/stalled_worker.py:") and "NumPy" in stalled["next"]
    healthy, done = headless(environment, tmp_path / "h.json", "--stall-after", "5", script, "numpy")
    assert done.returncode == 0
    assert "run.stalled" not in [f["id"] for f in healthy["findings"]]


@pytest.mark.slow
def test_workers_that_exchange_gradients_most_of_the_time(environment: dict[str, str], tmp_path: Path) -> None:
    needs_keras_3("its variables have a value()")
    command = ("--set", "profile=5", str(DEMO / "all_reduce.py"))
    report, done = headless(environment, tmp_path / "r.json", *command, "2", "120")
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-3000:]
    cause = finding(report, "compute.collectives")
    assert (cause["severity"], cause["evidence"]["ops"][0]["op"]) == ("warning", "CollectiveReduceV2")
    assert report["compute"]["parts"]["collectives"]["share"] > 0.2


@pytest.mark.slow
def test_one_worker_has_nobody_to_exchange_with(environment: dict[str, str], tmp_path: Path) -> None:
    needs_keras_3("its variables have a value()")
    command = ("--set", "profile=5", str(DEMO / "all_reduce.py"))
    report, _ = headless(environment, tmp_path / "r.json", *command, "1", "300")
    assert "collectives" not in report["compute"]["parts"]
    assert "compute.collectives" not in [f["id"] for f in report["findings"]]


@pytest.mark.slow
def test_a_step_that_xla_compiles_for_a_long_time(environment: dict[str, str], tmp_path: Path) -> None:
    script = str(DEMO / "slow_start.py")
    report, done = headless(environment, tmp_path / "r.json", script, "40")
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-3000:]
    named = [f for f in report["findings"] if f["id"] == "run.slow_start"]
    if not named:
        pytest.skip("this machine compiles it in less than 30 s")
    assert named[0]["evidence"]["seconds"] >= 30 and named[0]["severity"] == "warning"
    report, _ = headless(environment, tmp_path / "r.json", "--set", "jit_compile=off", script, "40")
    assert "run.slow_start" not in [f["id"] for f in report["findings"]]
