"""Runs as Prometheus metrics: the numbers of the report, under names and labels that Prometheus takes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.journals import start, state_of, steps, windows
from tfgpu_tui.cli import exporting, reading
from tfgpu_tui.cli.refusals import UsageError
from tfgpu_tui.core import events as ev
from tfgpu_tui.core.rows import MemoryDevice
from tfgpu_tui.core.state import RunState
from tfgpu_tui.report import prometheus, report_json
from tfgpu_tui.runs.rundir import RunDir

RECORDINGS = Path(__file__).parents[2] / "demo" / "recordings"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class _Collector:
    def __init__(self, states: tuple[RunState, ...]) -> None:
        self._states = states

    def collect(self) -> Any:
        return prometheus.families(self._states)


def page(*states: RunState) -> str:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(states))
    return str(generate_latest(registry).decode())


def samples(*states: RunState) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(page(*states)):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, f"twice: {key}"
            found[key] = sample.value
    return found


def value(found: Samples, name: str, **labels: str) -> float | None:
    """Of the one sample of that name that has these labels among its own; None where there is none."""
    wanted = set(labels.items())
    there = [v for (of, its), v in found.items() if of == f"tfgpu_tui_{name}" and wanted <= its]
    assert len(there) <= 1, there
    return there[0] if there else None


@pytest.mark.parametrize("path", sorted(RECORDINGS.glob("*.jsonl")), ids=lambda path: path.stem)
def test_a_recording_tells_what_its_report_does(path: Path) -> None:
    state = reading.folded(RunDir(path.parent, path.name))
    found, report = samples(state), report_json.build(state)
    told = sum(v for (name, its), v in found.items() if name == "tfgpu_tui_steps_total" and ("phase", "train") in its)
    assert told == sum(process.steps.train.steps for process in state.training.training())
    ids = {dict(its)["id"] for (name, its) in found if name == "tfgpu_tui_finding"}
    assert ids == {finding["id"] for finding in report["findings"]}
    assert value(found, "run_started_timestamp_seconds") == state.started
    assert (value(found, "run_ended_timestamp_seconds") is None) == (state.ended is None)


def test_seconds_and_their_parts() -> None:
    state = state_of(start(), windows(40, wait=0.3, step_ms=10.0))
    found, train = samples(state), state.train
    parts = {part: value(found, "step_seconds_total", part=part) for part in ("input_wait", "compute", "host")}
    assert parts == {"input_wait": train.wait_s, "compute": train.compute_s, "host": train.host_s}
    assert value(found, "step_duration_seconds_count") == train.steps
    assert value(found, "step_duration_seconds_sum") == pytest.approx(train.wall_s)
    assert value(found, "step_duration_seconds_bucket", le="0.005") == 0
    assert value(found, "step_duration_seconds_bucket", le="0.02") == train.steps - 5, "all but the warm-up"
    assert value(found, "examples_total") == train.examples
    assert value(found, "last_step_timestamp_seconds") == state.last_step_t


def test_what_is_not_measured_is_absent() -> None:
    state = state_of(start(), [steps(2, wait_s=None, compute_s=None, examples=None, batch_size=None)])
    found = samples(state)
    assert value(found, "step_seconds_total", part="input_wait") is None
    assert value(found, "examples_total") is None
    assert value(found, "allocator_bytes") is None
    assert value(found, "step_seconds_total", part="host") is not None
    assert samples(RunState()) == {}


def test_memory_of_a_device_by_kind() -> None:
    device: MemoryDevice = {"device": "GPU:0", "current_bytes": 5, "peak_bytes": 9}
    state = state_of(start(), [ev.TfMemory(t=1e6 + 3, src="agent", pid=4711, devices=[device])])
    found = samples(state)
    assert value(found, "allocator_bytes", kind="current", device="GPU:0", gpu_uuid="") == 5
    assert value(found, "allocator_bytes", kind="peak") == 9
    assert value(found, "allocator_bytes", kind="limit") is None


def test_runs_and_processes_stand_side_by_side() -> None:
    other = state_of(start(run_id="train-2"), windows(40))
    several = state_of(start(), [steps(2), steps(2.5, pid=4712), steps(3, pid=4713)])
    several.take(ev.Job(t=1e6 + 4, src="agent", pid=4712, task="worker", index=1, workers=2))
    found = samples(several, other)
    ranks = {dict(its)["rank"] for (name, its) in found if name == "tfgpu_tui_epoch_total" or "_steps_total" in name}
    assert ranks == {"", "4711", "worker-1", "4713"}
    assert value(found, "steps_total", run="train-1", rank="worker-1") == 20


def test_promtool_takes_the_page() -> None:
    """Where Prometheus' own tool is installed (the Debian package prometheus); the library's parser took it above."""
    tool = shutil.which("promtool")
    text = page(*(reading.folded(RunDir(path.parent, path.name)) for path in sorted(RECORDINGS.glob("*.jsonl"))))
    if tool is None:
        pytest.skip("promtool is not installed")
    done = subprocess.run([tool, "check", "metrics"], input=text.encode(), capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "prometheus_client", None)
    with pytest.raises(prometheus.PrometheusMissing, match="pip install prometheus-client"):
        prometheus.families([])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("127.0.0.1:9455", "127.0.0.1:9455"),
        ("[::1]:80", "[::1]:80"),
        ("unix:/run/x", "unix:/run/x"),
        ("/a/b.prom", "/a/b.prom"),
    ],
)
def test_targets(text: str, said: str) -> None:
    assert str(exporting.target(text)) == said


@pytest.mark.parametrize(
    "text", ["", "9455", ":9455", "host:", "host:99999", "unix:", "a b:1", "http://host:1", "x.txt"]
)
def test_what_is_no_target(text: str) -> None:
    with pytest.raises(UsageError, match=r"give HOST:PORT, unix:PATH, or a file that ends in .prom"):
        exporting.target(text)


CONTRIB = Path(__file__).parents[2] / "contrib" / "prometheus"


def expressions() -> list[str]:
    """All that the dashboard and the alerts ask Prometheus for."""
    board = json.loads((CONTRIB / "dashboard.json").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    return [*asked, (CONTRIB / "alerts.yml").read_text()]


def test_dashboard_and_alerts_ask_only_for_what_there_is() -> None:
    device: MemoryDevice = {"device": "GPU:0", "current_bytes": 5}
    state = reading.folded(RunDir(RECORDINGS, "h200-input-bound.jsonl"))
    state.take(ev.TfMemory(t=state.now, src="agent", pid=state.child_pid, devices=[device]))
    there = {name for name, _ in samples(state, state_of(start(), windows(40)))}
    asked = set(re.findall(r"tfgpu_tui_\w+", " ".join(expressions())))
    assert len(asked) >= 8
    assert asked <= there | {"tfgpu_tui_run_exit_status", "tfgpu_tui_run_ended_timestamp_seconds"}


def test_promtool_takes_rules_and_queries(tmp_path: Path) -> None:
    """Where promtool is installed; the alerts have tests of their own in its format."""
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not installed")
    queries = [expr.replace("$__rate_interval", "5m").replace("$run", ".*") for expr in expressions()[:-1]]
    rules = [{"record": f"q:{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "g", "rules": rules}]}))
    for command in (["check", "rules", str(tmp_path / "rules.yml")], ["test", "rules", "alerts_test.yml"],
                    ["check", "config", "prometheus.yml"]):  # fmt: skip
        done = subprocess.run([tool, *command], cwd=CONTRIB, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
