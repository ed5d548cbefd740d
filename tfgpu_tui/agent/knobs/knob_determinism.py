"""Knob determinism=off: the script's `enable_op_determinism()` does nothing, and is noted with its line.

`enable_op_determinism` in tensorflow/python/framework/config.py (TensorFlow 2.15 to 2.21). It refuses to run without a
global seed; that this can't be seen any more changes no result. TF_DETERMINISTIC_OPS is set by the supervisor.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

from ..hooks.runtime import on_import
from ..looks import script_calls


@on_import("tensorflow.python.framework.config")
def _leave_off(module: Any) -> None:
    original = module.enable_op_determinism

    @functools.wraps(original)
    def enable_op_determinism() -> None:
        script_calls.note("enable_op_determinism", "", sys._getframe(1))

    module.enable_op_determinism = enable_op_determinism
