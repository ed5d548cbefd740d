"""Two real workers that train one model: the one whose input, or Python, takes longer is named, and no other."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from typing import Any

import pytest

from tests.process.conftest import Workplace
from tfgpu_tui.core.parts.processes import STEADY_STEPS
from tfgpu_tui.fleet.local import Folder
from tfgpu_tui.fleet.watch import Fleet

pytestmark = pytest.mark.slow
LIMIT_S, LOOK_EVERY_S = 240.0, 0.5
LATE_S, STEPS = 0.5, 40
"""A busy machine exchanges gradients in some 100 ms: a delay within that would be hidden by prefetching, and delay
nobody."""

WORKER = """
import json, os, sys, time
import numpy as np
import tensorflow as tf

kind, late_in_input, late_in_loop, steps = sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
strategy = tf.distribute.MultiWorkerMirroredStrategy()
with strategy.scope():
    w = tf.Variable(tf.zeros((16, 1)))

def load(i):
    time.sleep(late_in_input)
    return np.ones(16, "f")

def data(count):
    return tf.data.Dataset.range(count).map(
        lambda i: tf.ensure_shape(tf.numpy_function(load, [i], tf.float32), [16]))

def step(x):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((x @ w - 1.0) ** 2)
    gradient = tf.distribute.get_replica_context().all_reduce("sum", tape.gradient(loss, w))
    w.assign_sub(0.01 * gradient)

@tf.function
def train(x):
    strategy.run(step, (x,))

@tf.function
def train_next(batches):
    strategy.run(step, (next(batches),))

options = tf.data.Options()
options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
if kind == "plain":
    batches = iter(data(steps).batch(1).prefetch(1))
elif kind == "function":
    batches = iter(strategy.distribute_datasets_from_function(lambda context: data(steps).batch(1).prefetch(1)))
elif kind == "repeats":
    batches = iter(strategy.experimental_distribute_dataset(data(steps).repeat(2).batch(2).with_options(options)))
else:
    batches = iter(strategy.experimental_distribute_dataset(data(steps).batch(2).with_options(options)))
for _ in range(steps):
    if kind == "in_graph":
        train_next(batches)
    else:
        train(next(batches))
    time.sleep(late_in_loop)
"""


def told_while_they_train(place: Workplace, kind: str, in_input: list[float], in_loop: list[float]) -> list[Any]:
    """What the fleet says about the job, look for look; only looks at which both ranks were in step."""
    with socket.create_server(("localhost", 0)) as one, socket.create_server(("localhost", 0)) as other:
        addresses = [f"localhost:{server.getsockname()[1]}" for server in (one, other)]
    script = place.script(WORKER, "worker.py")
    workers = []
    for rank in range(2):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}}
        command = place.command("--headless", script, kind, str(in_input[rank]), str(in_loop[rank]), str(STEPS))
        workers.append(
            subprocess.Popen(
                command,
                cwd=place.folder,
                env={**place.env, "TF_CONFIG": json.dumps(config)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    fleet, looks, deadline = Fleet([Folder()]), [], time.monotonic() + LIMIT_S
    try:
        while all(worker.poll() is None for worker in workers) and time.monotonic() < deadline:
            picture = fleet.read(1.0)
            judged = [row.judged_steps for row in picture.rows if row.rank is not None and row.goes_on]
            if not picture.behind and len(judged) == 2 and min(judged) >= STEADY_STEPS:
                looks.append([(one.finding.id, one.finding.evidence["rank"]) for one in picture.told])
            time.sleep(LOOK_EVERY_S)
        for worker in workers:
            assert worker.wait(60) == 0, worker.communicate()[1][-3000:]
    finally:
        fleet.close()
        for worker in workers:
            worker.kill()
            worker.communicate()
    assert looks, "they trained for long enough to be compared"
    return looks


@pytest.mark.parametrize(
    ("kind", "slow"), [("ends", 1), ("ends", 0), ("repeats", 1), ("function", 0), ("in_graph", 1), ("plain", 0)]
)
def test_the_rank_whose_input_takes_longer_is_named(place: Workplace, kind: str, slow: int) -> None:
    looks = told_while_they_train(place, kind, [LATE_S * (rank == slow) for rank in range(2)], [0.0, 0.0])
    assert looks[-1] == [("run.straggler_input", slow)]
    assert {one for look in looks for one in look} == {("run.straggler_input", slow)}


def test_the_rank_whose_python_takes_longer_is_named(place: Workplace) -> None:
    looks = told_while_they_train(place, "ends", [0.0, 0.0], [0.0, LATE_S])
    assert {one for look in looks for one in look} == {("run.straggler_host", 1)}


def test_of_equal_ranks_none_is_named(place: Workplace) -> None:
    looks = told_while_they_train(place, "ends", [LATE_S, LATE_S], [0.0, 0.0])
    assert {one for look in looks for one in look} == set()
