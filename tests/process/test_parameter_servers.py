"""A job with a parameter server: the chief tells its steps, and its servers are no scripts without a training."""

from __future__ import annotations

import json
import socket
import subprocess
from typing import Any

from tests.process.conftest import Workplace, read_journal, wait_until
from tfgpu_tui.core import events as ev
from tfgpu_tui.core.run_words import SERVES_WORDS
from tfgpu_tui.runs import listing, rundir
from tfgpu_tui.runs.rundir import RunDir

START_S = 120.0
STEPS = 60

SCRIPT = f"""
import json, os, sys
import tensorflow as tf

resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
if resolver.task_type != "chief":
    tf.distribute.Server(resolver.cluster_spec(), job_name=resolver.task_type, task_index=resolver.task_id,
                         protocol="grpc").join()
strategy = tf.distribute.ParameterServerStrategy(resolver)
coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
with strategy.scope():
    w = tf.Variable(tf.zeros((16, 1)))

@tf.function
def step(batches):
    def replica(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((x @ w - 1.0) ** 2)
        w.assign_sub(0.01 * tape.gradient(loss, w))
        return loss
    return strategy.run(replica, (next(batches),))

@tf.function
def look():
    return tf.reduce_sum(w)

@tf.function
def data():
    return strategy.experimental_distribute_dataset(tf.data.Dataset.from_tensors(tf.ones((4, 16))).repeat())

batches = iter(coordinator.create_per_worker_dataset(data))
for _ in range({STEPS}):
    coordinator.schedule(step, (batches,))
coordinator.join()
for _ in range(5):
    coordinator.schedule(look)
coordinator.join()
print("trained", float(tf.reduce_sum(w)) != 0.0, flush=True)
"""


def report_of(place: Workplace, run: RunDir) -> Any:
    return json.loads(place.tool("report", run.id, "--json").stdout)


def test_the_chief_tells_its_steps_and_servers_that_they_serve(place: Workplace) -> None:
    kinds = ("ps", "worker", "chief")
    taken = [socket.create_server(("localhost", 0)) for _ in kinds]
    cluster = {kind: [f"localhost:{server.getsockname()[1]}"] for kind, server in zip(kinds, taken, strict=True)}
    for server in taken:
        server.close()
    script = place.script(SCRIPT, "job.py")

    def start(kind: str) -> subprocess.Popen[str]:
        config = json.dumps({"cluster": cluster, "task": {"type": kind, "index": 0}})
        return subprocess.Popen(
            place.command("--headless", script), cwd=place.folder, env={**place.env, "TF_CONFIG": config},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    jobs = [start(kind) for kind in kinds]
    try:
        wait_until(lambda: len(place.runs()) == 3, "all three have a run", START_S)

        def serving() -> list[RunDir]:
            runs = [RunDir(run.path) for run in place.runs()]
            return [
                run for run in runs if any(isinstance(e, ev.Phase) and e.phase == "serving" for e in read_journal(run))
            ]

        out, err = jobs[2].communicate(timeout=START_S)
        assert jobs[2].returncode == 0 and "trained True" in out, err[-3000:]
        wait_until(lambda: len(serving()) == 2, "the servers serve", START_S)
        servers = serving()
        (chief,) = [RunDir(run.path) for run in place.runs() if run.id not in {server.id for server in servers}]
        told = report_of(place, chief)
        assert told["training"]["steps"] == STEPS, "what is scheduled and trains nothing is no step"
        assert told["findings"] == [] and told["hooks_off"] == {}
        assert "ClusterCoordinator" in told["unknown"]["phases.input_wait"]
        rows = json.loads(place.tool("fleet", "--json").stdout)["runs"]
        assert sorted(row["doing"] for row in rows) == [f"{role}: {SERVES_WORDS}" for role in ("ps", "worker")]
        for run in servers:
            assert place.tool("stop", run.id).returncode == 0
        for job in jobs[:2]:
            job.communicate(timeout=60)
        wait_until(lambda: all(listing.summary(run).state == "ended" for run in servers), "servers ended")
        for run in servers:
            told = report_of(place, rundir.find(run.id))
            assert told["findings"] == [] and told["hooks_off"] == {}
            assert SERVES_WORDS in told["unknown"]["training.step_ms"]
    finally:
        for job in jobs:
            job.kill()
            job.communicate()
