"""A script that ends while the agent's own thread is inside of TensorFlow."""

from __future__ import annotations

import sys
from pathlib import Path

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
    runtime = sys.modules["_tfgpu_agent.hooks.runtime"]
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
@pytest.mark.parametrize(
    ("last_line", "ends_with"),
    [
        ("pass", 0),
        ("raise ValueError", 1),
        ("raise KeyboardInterrupt", -2),
        ("sys.exit(3)", None),
        ("sys.exit()", None),
    ],
)
def test_what_a_script_ends_with_is_told_where_it_can_be_known(
    tmp_path: Path, python: str, last_line: str, ends_with: int | None
) -> None:
    (tmp_path / "keras.py").touch()  # wakes the agent up
    script = tmp_path / "script.py"
    script.write_text(f"import atexit, sys\natexit.register(print, 'last')\nimport keras\n{last_line}\n")
    events, process = run_script(script, python=python)
    (exiting,) = of_type(events, "phase", phase="exiting")
    assert exiting["ends_with"] == ends_with
    assert process.returncode == ends_with or ends_with is None
    as_module, _ = run_script(["-m", "script"], python=python, cwd=tmp_path)
    told = of_type(as_module, "phase", phase="exiting")[0]["ends_with"]
    assert told == (ends_with if ends_with != 0 else None)


@pytest.mark.parametrize("python", [sys.executable, *other_pythons()])
def test_a_script_ends_as_it_would_while_the_agent_reads_its_graph(python: str) -> None:
    """An interpreter that is gone ends the threads that come back to it; out of pybind11's code, with SIGABRT."""
    events, process = run_script(SCRIPT, python=python)
    assert process.stdout.splitlines()[-1] == "done"
    assert process.returncode == 5, process.stderr[-2000:]
    assert [e["message"] for e in of_type(events, "fault")] == ["looked to the end"]
