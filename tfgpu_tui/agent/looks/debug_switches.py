"""TensorFlow's debugging switches, forgotten in a script: each makes every step, or every element, much slower. And its
switches for deterministic results and for TF32, which have a price, too.

Wrapped where they are defined (TensorFlow 2.15 to 2.21): `enable_check_numerics` and `disable_check_numerics`
(tensorflow/python/debug/lib/check_numerics_callback.py), `enable_dump_debug_info` and `disable_dump_debug_info`
(dumping_callback.py beside it), `enable_debug_mode` (tensorflow/python/data/ops/debug_mode.py),
`enable_op_determinism` and `disable_op_determinism` (tensorflow/python/framework/config.py, where
`is_op_determinism_enabled` also knows the variable TF_DETERMINISTIC_OPS, and `enable_tensor_float_32_execution` is told
by its argument: run with 2.15 and 2.21).
"""

from __future__ import annotations

import functools
import sys
from types import FrameType
from typing import Any

from ..hooks.before_init import variable_at
from ..hooks.runtime import after_execution, found, guarded, on_import, send_latest
from .script_calls import changed_by_script, place_of

SWITCHES = {
    "tensorflow.python.debug.lib.check_numerics_callback": "check_numerics",
    "tensorflow.python.debug.lib.dumping_callback": "dump_debug_info",
    "tensorflow.python.data.ops.debug_mode": "debug_mode",
    "tensorflow.python.framework.config": "op_determinism",
}
"""Module -> the end of its functions' names, after `enable_` and `disable_`."""
TF32, TF32_OFF = "enable_tensor_float_32_execution", "tensor_float_32_off"
DETERMINISTIC = "TF_DETERMINISTIC_OPS"

_told: "dict[str, bool]" = {}
"""Switch -> whether the script turned it on or off last."""


def _watch(module: Any) -> None:
    name = SWITCHES[module.__name__]
    switches = {f"{word}_{name}": word == "enable" for word in ("enable", "disable")}
    for function in found(f"switch {name} in {module.__name__}", [f for f in switches if hasattr(module, f)]):
        setattr(module, function, _telling(getattr(module, function), name, switches[function]))


def _telling(original: Any, name: str, on: bool) -> Any:
    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        _tell(name, on, sys._getframe(1))
        return result

    return call


@on_import("tensorflow.python.framework.config")
def _watch_tf32(module: Any) -> None:
    for name in found(f"switch {TF32} in {module.__name__}", [TF32] if hasattr(module, TF32) else []):
        setattr(module, name, _telling(getattr(module, name), TF32_OFF, True))


@guarded("debug_switches")
def _tell(name: str, on: bool, caller: FrameType) -> None:
    if name == "op_determinism":
        on = bool(sys.modules["tensorflow.python.framework.config"].is_op_determinism_enabled())
        if not on and name not in _told:
            return  # turned on in vain: this run was asked to leave it off
    if name == TF32_OFF:
        on = not sys.modules["tensorflow.python.framework.config"].tensor_float_32_execution_enabled()
    _told[name] = on
    send_latest("debug_switch", key=name, name=name, on=on, place=place_of(caller))


@after_execution
def _variable(model: Any, phase: str, steps: int) -> None:
    """Results are deterministic without a call of the script: the variable says so."""
    config = sys.modules.get("tensorflow.python.framework.config")
    if "op_determinism" in _told or config is None or not config.is_op_determinism_enabled():
        return
    _told["op_determinism"] = True
    value = variable_at("started", DETERMINISTIC)
    place = changed_by_script(DETERMINISTIC, value) or f"{DETERMINISTIC}={value}, set where the run was started"
    send_latest("debug_switch", key="op_determinism", name="op_determinism", on=True, place=place)


for _name in SWITCHES:
    on_import(_name)(_watch)
