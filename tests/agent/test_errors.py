"""Where an exception came from, where TensorFlow raises it far from there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from .conftest import of_type, other_pythons, run_script

IN_A_FUNCTION = """
    import tensorflow as tf

    def loss(x):
        return tf.matmul(x, tf.ones((3, 3)))  # here

    @tf.function
    def step(x):
        if tf.reduce_sum(x) > 0:  # rewritten by AutoGraph
            y = loss(x)
        else:
            y = x
        return y

    step(tf.ones((4, 2)))
"""
IN_A_GRAPH = """
    import tensorflow as tf

    @tf.function
    def step(x, i):
        return tf.gather(x, i)  # here

    for i in range(10):
        step(tf.ones((2, 4)), tf.constant(i))
"""
IN_THE_PIPELINE = """
    import numpy as np
    import tensorflow as tf

    def load(i):
        raise ValueError("file 37 is broken")  # here

    data = tf.data.Dataset.range(1).map(lambda i: tf.numpy_function(load, [i], tf.float32))
    for x in data:
        pass
"""
IN_AN_INNER_FUNCTION = """
    import numpy as np
    import tensorflow as tf

    def load(i):
        def read(k):
            size = {}
            return np.full(8, size[k], "f")  # here

        return tf.numpy_function(read, [i], tf.float32)

    for x in tf.data.Dataset.range(1).map(load):
        pass
"""


@pytest.mark.parametrize("python", [sys.executable, *other_pythons()])
@pytest.mark.parametrize(
    ("script", "function"),
    [(IN_A_FUNCTION, "loss"), (IN_A_GRAPH, "step"), (IN_THE_PIPELINE, "load"), (IN_AN_INNER_FUNCTION, "read")],
)
def test_the_scripts_own_line_is_told(script: str, function: str, python: str) -> None:
    events, process = run_script(script, python)
    assert process.returncode == 1
    (error,) = of_type(events, "script_error", main=True)
    line = next(number for number, text in enumerate(script.splitlines(), start=1) if "# here" in text)
    assert (error["file"].rsplit("/", 1)[-1], error["line"], error["function"]) == ("train.py", line, function)


def test_a_package_in_a_folder_of_its_own_is_no_code_of_the_users(tmp_path: Path) -> None:
    """As `pip install --target` leaves it, or a cluster's modules: no `site-packages` in its path."""
    package = tmp_path / "modules" / "losses"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("def fail():\n    raise ValueError('too small')\n")
    (tmp_path / "modules" / "losses-1.0.dist-info").mkdir()
    script = f"""
    import sys
    sys.path.append({str(tmp_path / "modules")!r})
    import tensorflow as tf
    import losses
    losses.fail()  # here
    """
    events, process = run_script(script)
    assert process.returncode == 1
    (error,) = of_type(events, "script_error", main=True)
    assert (error["file"].rsplit("/", 1)[-1], error["function"]) == ("train.py", "<module>")


XLA = """
    import tensorflow as tf

    def words(x):
        return tf.strings.to_number(tf.strings.as_string(x))  # here

    @tf.function(jit_compile=True)
    def step(x):
        return words(x) + 1.0

    step(tf.ones((4,)))
"""


def test_xlas_shortened_paths_are_understood() -> None:
    """It takes off its message what all files begin with: `t/train.py`."""
    events, process = run_script(XLA)
    assert process.returncode == 1
    (error,) = of_type(events, "script_error", main=True)
    line = next(number for number, text in enumerate(XLA.splitlines(), start=1) if "# here" in text)
    assert (error["file"].rsplit("/", 1)[-1], error["line"], error["function"]) == ("train.py", line, "words")


CHILD = """
    import multiprocessing, sys

    def work():
        import tensorflow as tf
        tf.constant(1.0)
        raise ValueError("a bad day")  # here

    if __name__ == "__main__":
        {imports}
        multiprocessing.set_start_method("{method}")
        child = multiprocessing.Process(target=work)
        child.start()
        child.join()
        sys.exit(child.exitcode - 1)
"""


@pytest.mark.parametrize(
    ("method", "imports"), [("fork", "import tensorflow"), ("spawn", "pass"), ("spawn", "import tensorflow")]
)
def test_a_child_of_multiprocessing_tells_what_it_dies_of(method: str, imports: str) -> None:
    script = CHILD.format(method=method, imports=imports)
    events, process = run_script(script)
    assert process.returncode == 0 and process.stderr.count("ValueError: a bad day") == 1
    assert "_tfgpu" not in process.stderr and "tfgpu_tui/agent" not in process.stderr
    (error,) = of_type(events, "script_error")
    line = next(number for number, text in enumerate(script.splitlines(), start=1) if "# here" in text)
    assert (error["exception"], error["message"], error["main"]) == ("ValueError", "a bad day", False)
    assert (error["line"], error["function"]) == (line, "work")
