"""A job with parameter servers, each task a process of its own under the tool: the chief's steps are counted, and its
loop can be stopped; the servers say what they are, and are no scripts without a training.

Steps as a coordinator schedules them: tests/agent/test_coordinator.py.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator

from tests.process.conftest import Workplace, read_journal, wait_until
from tfgpu_tui.core import events as ev
from tfgpu_tui.core.fleet import Row
from tfgpu_tui.core.run_words import SERVES_WORDS
from tfgpu_tui.core.state import fold
from tfgpu_tui.diagnose import diagnose
from tfgpu_tui.fleet.local import Folder
from tfgpu_tui.fleet.watch import Fleet, Picture
from tfgpu_tui.report import report_json
from tfgpu_tui.runs import rundir

START_S, END_S, LOOK_EVERY_S = 240.0, 60.0, 0.5
TASKS = ("ps", "worker", "chief")
SCRIPT = """
import tensorflow as tf

resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
if resolver.task_type in ("worker", "ps"):
    config = tf.compat.v1.ConfigProto(inter_op_parallelism_threads=4)  # a step that waits for variables holds one
    task = {"job_name": resolver.task_type, "task_index": resolver.task_id}
    tf.distribute.Server(resolver.cluster_spec(), **task, protocol="grpc", config=config).join()

strategy = tf.distribute.ParameterServerStrategy(resolver)
coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
with strategy.scope():
    w = tf.Variable(tf.zeros((16, 1)))
    count = tf.Variable(0, dtype=tf.int64)

@tf.function
def data():
    ones = tf.data.Dataset.from_tensors(tf.ones((4, 16))).repeat()
    return strategy.distribute_datasets_from_function(lambda context: ones)

@tf.function
def step(batches):
    def replica(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((x @ w - 1.0) ** 2)
        w.assign_sub(0.01 * tape.gradient(loss, w))
        count.assign_add(1)
    strategy.run(replica, (next(batches),))

batches, scheduled = iter(coordinator.create_per_worker_dataset(data)), 0
try:
    while True:
        for _ in range(50):
            coordinator.schedule(step, args=(batches,))
            scheduled += 1
        coordinator.join()
except KeyboardInterrupt:
    coordinator.join()
    print("all were done", abs(scheduled - int(count.numpy())) <= 1, flush=True)
"""


@contextlib.contextmanager
def job(place: Workplace, script: str) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """A chief, a worker and a ps, each under the tool; killed at the end."""
    with contextlib.ExitStack() as taken:
        ports = [taken.enter_context(socket.create_server(("localhost", 0))).getsockname()[1] for _ in TASKS]
    cluster = {task: [f"localhost:{port}"] for task, port in zip(TASKS, ports, strict=True)}
    path, started = place.script(script, "job.py"), {}
    try:
        for task in TASKS:
            config = json.dumps({"cluster": cluster, "task": {"type": task, "index": 0}})
            started[task] = subprocess.Popen(
                place.command("--headless", path), cwd=place.folder, env={**place.env, "TF_CONFIG": config},
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip
        yield started
    finally:
        for process in started.values():
            process.kill()
            process.communicate()


def by_task(picture: Picture) -> dict[str, Row]:
    """The rows of the job, by the task that their run told."""
    told = [(row, event) for row in picture.rows for event in read_journal(rundir.find(row.run))]
    return {str(event.role): row for row, event in told if isinstance(event, ev.Member)}


def serves(event: ev.Event) -> bool:
    return isinstance(event, ev.Phase) and event.phase == "serving"


def found_at_the_end(events: list[ev.Event]) -> list[str]:
    """Had the script come to its end by itself."""
    told = [event for event in events if not isinstance(event, (ev.RunEnded, ev.Stopping))]
    return [finding.id for finding in diagnose(fold([*told, ev.RunEnded(t=told[-1].t + 1.0, exit_code=0)]))]


def test_a_chief_its_worker_and_its_parameter_server(place: Workplace) -> None:
    fleet = Fleet([Folder()], job="localhost")
    with contextlib.closing(fleet), job(place, SCRIPT) as started:

        def at_work() -> bool:
            time.sleep(LOOK_EVERY_S)
            assert all(process.poll() is None for process in started.values())
            told = by_task(fleet.read(1.0))
            chief, others = told.get("chief"), [told.get("worker"), told.get("ps")]
            return bool(chief and chief.judged_steps and all(row and SERVES_WORDS in row.doing for row in others))

        wait_until(at_work, "the chief trains, and the others serve", START_S)
        told = by_task(fleet.read(1.0))
        assert {task: (row.rank, row.world_size, row.synchronous, row.doing) for task, row in told.items()} == {
            "chief": (0, 2, False, told["chief"].doing),
            "worker": (1, 2, False, f"worker: {SERVES_WORDS}"),
            "ps": (None, 2, False, f"ps: {SERVES_WORDS}"),
        }
        assert place.tool("stop", told["chief"].run).returncode == 0
        out, _ = started["chief"].communicate(timeout=END_S)
        assert "all were done True" in out and started["chief"].returncode == 0, out[-3000:]
        for task in ("worker", "ps"):
            assert place.tool("stop", told[task].run).returncode == 0
        for task in ("worker", "ps"):
            started[task].communicate(timeout=END_S)

    for task, row in told.items():
        events = read_journal(rundir.find(row.run))
        assert not [event for event in events if isinstance(event, (ev.HookOff, ev.Dropped))]
        state = fold(events)
        assert [one.id for one in diagnose(state) if one.severity != "info"] == []
        report = report_json.build(state)
        if task == "chief":
            assert report["run"]["stopped"]["reason"] == "user" and report["training"]["steps"] >= 20
            continue
        assert SERVES_WORDS in report["unknown"]["training.step_ms"]
        assert "run.no_steps" not in found_at_the_end(events)
        assert "run.no_steps" in found_at_the_end([event for event in events if not serves(event)])
