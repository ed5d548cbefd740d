"""A script that ends while the agent's own thread is inside of TensorFlow."""

from __future__ import annotations

import sys

import pytest

from .conftest import of_type, other_pythons, run_script

SCRIPT = """
    import sys, threading, time
    import tensorflow as tf

    @tf.function
    def step(x):
        for i in range(300):
            x = x + float(i)
        return x

    graph = step.get_concrete_function(tf.TensorSpec([4])).graph
    runtime = sys.modules["_tfgpu_agent.runtime"]
    inside = threading.Event()

    @runtime.every(0.0)
    def look():
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            for operation in graph.get_operations():
                operation.device, [tensor.name for tensor in operation.inputs]
            inside.set()
        runtime.send("fault", part="test", message="looked to the end")

    assert inside.wait(60)
    print("done", flush=True)
    sys.exit(5)
"""


@pytest.mark.parametrize("python", [sys.executable, *other_pythons()])
def test_a_script_ends_as_it_would_while_the_agent_reads_its_graph(python: str) -> None:
    """An interpreter that is gone ends the threads that come back to it; out of pybind11's code, with SIGABRT."""
    events, process = run_script(SCRIPT, python=python)
    assert process.stdout.splitlines()[-1] == "done"
    assert process.returncode == 5, process.stderr[-2000:]
    assert [e["message"] for e in of_type(events, "fault")] == ["looked to the end"]
