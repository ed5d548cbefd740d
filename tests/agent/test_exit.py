"""A script that ends while the agent's own thread is inside of TensorFlow."""

from __future__ import annotations

import sys

import pytest

from .conftest import main_pid, of_type, other_pythons, run_script

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


def test_that_the_script_is_over_is_told_before_its_interpreter_closes() -> None:
    source = """
    import atexit, json, tensorflow as tf

    class Last:
        def __del__(self, write=open):
            write("/dev/stdout", "w").write("closed")

    last = Last()
    atexit.register(print, "at exit")
    print("over", flush=True)
    """
    events, process = run_script(source)
    assert process.stdout.split() == ["over", "at", "exit", "closed"]
    assert [e["phase"] for e in of_type(events, "phase")][-1] == "exiting"


def test_the_end_of_a_child_is_not_the_scripts() -> None:
    source = """
    import multiprocessing
    import tensorflow as tf

    if __name__ == "__main__":
        child = multiprocessing.get_context("spawn").Process(target=print, args=("child",))
        child.start()
        child.join()
    """
    events, process = run_script(source)
    assert process.stdout == "child\n", process.stderr
    main = main_pid(events)
    assert len({e["pid"] for e in of_type(events, "agent_connected")}) > 1
    assert [e["pid"] for e in of_type(events, "phase") if e["phase"] == "exiting"] == [main]


@pytest.mark.parametrize("python", [sys.executable, *other_pythons()])
def test_a_script_ends_as_it_would_while_the_agent_reads_its_graph(python: str) -> None:
    """An interpreter that is gone ends the threads that come back to it; out of pybind11's code, with SIGABRT."""
    events, process = run_script(SCRIPT, python=python)
    assert process.stdout.splitlines()[-1] == "done"
    assert process.returncode == 5, process.stderr[-2000:]
    assert [e["message"] for e in of_type(events, "fault")] == ["looked to the end"]
