"""TensorFlow's debugging switches are told as the script turns them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from .conftest import of_type, other_pythons, run_script

SCRIPT = """
    import tensorflow as tf
    tf.debugging.enable_check_numerics()
    tf.debugging.disable_check_numerics()
    tf.data.experimental.enable_debug_mode()
    tf.debugging.experimental.enable_dump_debug_info("{folder}")
    tf.config.experimental.enable_tensor_float_32_execution(TF32)
    print([int(x) for x in tf.data.Dataset.range(3).map(lambda x: x + 1)])
"""


@pytest.mark.parametrize("python", [sys.executable, *other_pythons()])
@pytest.mark.parametrize("tf32", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_each_turn_of_a_switch_is_told_with_its_line(tf32: bool, python: str, tmp_path: object) -> None:
    script = SCRIPT.replace("{folder}", str(tmp_path)).replace("TF32", str(tf32))
    events, process = run_script(script, python)
    assert process.stdout.splitlines()[-1] == "[1, 2, 3]", process.stderr
    assert {e["name"]: (e["on"], e["place"]) for e in of_type(events, "debug_switch")} == {
        "check_numerics": (False, "train.py:4"),
        "debug_mode": (True, "train.py:5"),
        "dump_debug_info": (True, "train.py:6"),
        "tensor_float_32_off": (not tf32, "train.py:7"),
    }


@pytest.mark.parametrize("started_in", ["project", "elsewhere"])
def test_its_line_is_named_as_seen_from_the_runs_folder_or_the_scripts(started_in: str, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "settings").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    source = (
        "import os, tensorflow as tf\n\ndef strict():\n    os.chdir('/')\n    tf.debugging.enable_check_numerics()\n"
    )
    (project / "settings" / "checks.py").write_text(source)
    (project / "train.py").write_text("from settings.checks import strict\nstrict()\n")
    events, process = run_script(project / "train.py", cwd=tmp_path / started_in)
    assert process.returncode == 0, process.stderr
    assert [event["place"] for event in of_type(events, "debug_switch")] == ["settings/checks.py:5"]


DETERMINISTIC = """
    import os
    VARIABLE
    import numpy as np
    import keras
    import tensorflow as tf
    keras.utils.set_random_seed(1)
    CALL
    m = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    m.compile("sgd", "mse")
    m.fit(np.ones((64, 4), "f"), np.ones((64, 1), "f"), verbose=0)
    from tensorflow.python.framework import config
    print(config.is_op_determinism_enabled())
"""
CALL, VARIABLE = "tf.config.experimental.enable_op_determinism()", "os.environ['TF_DETERMINISTIC_OPS'] = '1'"


@pytest.mark.parametrize("python", [sys.executable, *other_pythons()])
@pytest.mark.parametrize(
    ("variable", "call", "knobs", "place"),
    [
        ("", CALL, {}, "train.py:8"),
        (VARIABLE, "", {}, 'os.environ["TF_DETERMINISTIC_OPS"] = "1" at train.py:3'),
        ("", "", {}, None),
        ("", CALL, {"determinism": "off"}, None),
    ],
    ids=["call", "variable", "none", "taken back by the knob"],
)
def test_deterministic_results_are_told_with_what_asked_for_them(
    python: str, variable: str, call: str, knobs: dict[str, str], place: str | None
) -> None:
    script = DETERMINISTIC.replace("VARIABLE", variable or "pass").replace("CALL", call or "pass")
    events, process = run_script(script, python, environment={"TFGPU_TUI_KNOBS": json.dumps(knobs)})
    assert process.stdout.split() == [str(place is not None)], process.stderr
    told = of_type(events, "debug_switch", name="op_determinism")
    assert [e["place"] for e in told if e["on"]] == ([place] if place else [])
    (knob,) = {e["in_force"]["determinism"] for e in of_type(events, "knobs") if "determinism" in e["in_force"]}
    assert knob == ("on" if place else "off")
    assert of_type(events, "hook_off") == []
