"""TensorFlow's debugging switches, forgotten in a script: each makes every step, or every element, much slower.

Wrapped where they are defined (TensorFlow 2.15 to 2.21): `enable_check_numerics` and `disable_check_numerics`
(tensorflow/python/debug/lib/check_numerics_callback.py), `enable_dump_debug_info` and `disable_dump_debug_info`
(dumping_callback.py beside it), `enable_debug_mode` (tensorflow/python/data/ops/debug_mode.py).
"""

from __future__ import annotations

import functools
import sys
from types import FrameType
from typing import Any

from ..hooks.runtime import found, guarded, on_import, send_latest
from .script_calls import place_of

SWITCHES = {
    "tensorflow.python.debug.lib.check_numerics_callback": "check_numerics",
    "tensorflow.python.debug.lib.dumping_callback": "dump_debug_info",
    "tensorflow.python.data.ops.debug_mode": "debug_mode",
}
"""Module -> the end of its functions' names, after `enable_` and `disable_`."""


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


@guarded("debug_switches")
def _tell(name: str, on: bool, caller: FrameType) -> None:
    send_latest("debug_switch", key=name, name=name, on=on, place=place_of(caller))


for _name in SWITCHES:
    on_import(_name)(_watch)
