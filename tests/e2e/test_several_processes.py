"""Scripts in which several processes train, under the whole tool: what the report says of each, and of all."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.agent.test_multi_worker import SCRIPT as TWO_WORKERS
from tests.agent.test_multi_worker import free_ports
from tests.timed import timed

from .test_demos import environment, finding, headless

pytestmark = timed

__all__ = ["environment"]
ONE_WAITS = (
    TWO_WORKERS.replace("IN_GRAPH", "False")
    .replace("time.sleep(0.005)", "time.sleep(0.005 * strategy.cluster_resolver.task_id)")
    .replace("data.batch(8)", "data.batch(8).repeat()")
    .replace("    print(", "    del batches, data; import gc; gc.collect()\n    print(")
)
"""Worker 1 reads slowly; worker 0 has its batches at once, and waits for worker 1 in `all_reduce`. The data set is
endless, since at each batch of one that ends the workers ask each other, in `next`, whether there is one. TensorFlow
may wait for ever for the Python of a pipeline that is left before its end, so it is deleted."""

TWO_TRAININGS = """
    import multiprocessing, time

    def train(pause_s, steps):
        import numpy as np
        import tensorflow as tf

        def load(i):
            time.sleep(pause_s)
            return np.ones(16, "f")

        data = tf.data.Dataset.range(8 * steps).map(
            lambda i: tf.ensure_shape(tf.numpy_function(load, [i], tf.float32), [16])
        ).map(lambda x: (x, 1.0)).batch(8, drop_remainder=True)
        model = tf.keras.Sequential([tf.keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        model.fit(data, epochs=1, verbose=0)

    if __name__ == "__main__":
        context = multiprocessing.get_context("spawn")
        started = [context.Process(target=train, args=of_one) for of_one in ((0.004, 300), (0.0, 400))]
        for process in started:
            process.start()
        for process in started:
            process.join()
"""


def run(tmp_path: Path, environment: dict[str, str], text: str, *arguments: str) -> dict[str, Any]:
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(text))
    report, done = headless(environment, tmp_path / "report.json", str(script), *arguments)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return report


@pytest.mark.slow
def test_of_two_workers_in_step_the_one_that_waits_is_named(tmp_path: Path, environment: dict[str, str]) -> None:
    report = run(tmp_path, environment, ONE_WAITS, *free_ports())
    assert report["training"]["steps"] == 100, "not 200: a step of both is one"
    described = report["training"]["describes"]
    assert (described["what"], described["why"]) == ("slowest", "TF_CONFIG names them as 2 workers of one job")
    assert [process["main"] for process in report["processes"]] == [False, False]
    of_worker = {process["job"]["index"]: process for process in report["processes"]}
    assert [of_worker[index]["steps"] for index in (0, 1)] == [100, 100]
    fast, slow = (of_worker[index]["phases"]["input_wait"] for index in (0, 1))
    assert slow > 0.5 > 0.2 > fast
    assert described["pid"] == of_worker[1]["pid"]
    assert report["phases"]["input_wait"] == slow
    told = finding(report, "input.bound")
    assert told["title"].endswith("of each step waits for data (worker 1)")
    assert told["evidence"]["process"] == of_worker[1]["pid"]


@pytest.mark.slow
def test_two_trainings_of_one_script_are_summed(tmp_path: Path, environment: dict[str, str]) -> None:
    report = run(tmp_path, environment, TWO_TRAININGS)
    assert report["training"]["describes"]["what"] == "sum"
    waits, other = sorted(report["processes"], key=lambda process: int(process["steps"]))
    assert (waits["steps"], other["steps"], report["training"]["steps"]) == (300, 400, 700)
    assert (report["training"]["processes"], report["training"]["epochs"]) == (2, 2)
    assert waits["phases"]["input_wait"] > other["phases"]["input_wait"] + 0.2
    told = finding(report, "input.bound")
    assert told["title"].endswith(f"(process {waits['pid']})")
