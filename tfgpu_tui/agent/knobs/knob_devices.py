"""Knobs gpu_memory_limit and threads: set at the last moment before TensorFlow starts, in place of the script's own."""

from __future__ import annotations

import sys
from typing import Any

from ..hooks.before_init import before_init
from ..hooks.runtime import asked_knobs


@before_init("knob gpu_memory_limit")
def _limit(context: Any) -> None:
    """One logical device with that limit on each GPU (`Context.set_logical_device_configuration`, TF 2.15 to 2.21).
    A GPU that the script splits into several stays as it is: models are bound to its parts."""
    asked = asked_knobs().get("gpu_memory_limit")
    if asked is None:
        return
    configuration = sys.modules["tensorflow.python.eager.context"].LogicalDeviceConfiguration
    for gpu in context.get_visible_devices("GPU"):
        if len(context.get_logical_device_configuration(gpu) or ()) <= 1:
            context.set_logical_device_configuration(gpu, [configuration(memory_limit=int(asked))])


@before_init("knob threads")
def _threads(context: Any) -> None:
    """`Context.intra_op_parallelism_threads` and its sister, TF 2.15 to 2.21."""
    asked = asked_knobs().get("threads")
    if asked is None:
        return
    within, _, between = asked.partition("/")
    context.intra_op_parallelism_threads = int(within)
    context.inter_op_parallelism_threads = int(between or within)
