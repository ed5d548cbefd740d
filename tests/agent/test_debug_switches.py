"""TensorFlow's debugging switches are told as the script turns them."""

from __future__ import annotations

import sys

import pytest

from .conftest import of_type, other_pythons, run_script

SCRIPT = """
    import tensorflow as tf
    tf.debugging.enable_check_numerics()
    tf.debugging.disable_check_numerics()
    tf.data.experimental.enable_debug_mode()
    tf.debugging.experimental.enable_dump_debug_info("{folder}")
    print([int(x) for x in tf.data.Dataset.range(3).map(lambda x: x + 1)])
"""


@pytest.mark.parametrize("python", [sys.executable, *other_pythons()])
def test_each_turn_of_a_switch_is_told_with_its_line(python: str, tmp_path: object) -> None:
    events, process = run_script(SCRIPT.replace("{folder}", str(tmp_path)), python)
    assert process.stdout.splitlines()[-1] == "[1, 2, 3]", process.stderr
    assert {e["name"]: (e["on"], e["place"]) for e in of_type(events, "debug_switch")} == {
        "check_numerics": (False, "train.py:4"),
        "debug_mode": (True, "train.py:5"),
        "dump_debug_info": (True, "train.py:6"),
    }
