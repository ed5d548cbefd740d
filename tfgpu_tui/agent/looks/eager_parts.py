"""What the compute of steps that run op by op is made of: where the thread that trains stands, ten looks a second.

TensorFlow's profiler can't tell which layer an op belongs to where there is no graph; the stack tells whether a look
met the gradient, the optimizer, a loss, or a layer's call. A look gets its turn when the training's thread lets go of
the interpreter, as in an op that computes, so it is a share of looks, no stopwatch (`script_lines`). Frames are known
by file and name alone: what they work on is never touched.

Run with TensorFlow 2.15 and 2.21, Keras 2.15 and 3.15: `GradientTape.gradient` in tensorflow/python/eager/backprop.py;
Keras' optimizers/, losses/, metrics/, and `Layer.__call__` in layers/layer.py (engine/base_layer.py in Keras 2).
"""

from __future__ import annotations

import os
from collections import Counter
from types import CodeType
from typing import Iterable, Optional

from ..hooks.libraries import library_of
from ..hooks.runtime import send_latest
from ..placement import placement
from ..steps import windows

LEAST_LOOKS = 50
"""A share of fewer says little: 10 % of 50 are between 3 and 22 (95 %)."""
KERAS = ("keras", "tf_keras")
TAPE = os.path.join("tensorflow", "python", "eager", "backprop.py")
GRADIENTS = ("gradient", "jacobian", "batch_jacobian")
UPDATES = ("apply_gradients", "apply", "minimize")
LOSSES = ("losses", "metrics")
LAYERS = ("layer.py", "base_layer.py")
FORWARD = "forward"
NOTE = "by looks at the stack, since the step runs op by op; by layer it is not known"

_looks: "Counter[str]" = Counter()
_told = 0


def seen(stack: Iterable[CodeType]) -> None:
    """One look at a step that computes, the innermost frame first."""
    _looks[next((name for name in map(part, stack) if name is not None), "unknown")] += 1
    _tell()


def part(code: CodeType) -> Optional[str]:
    """What runs in a frame of this code; None for what is none of these."""
    file, name = code.co_filename, code.co_name
    if name in GRADIENTS and file.endswith(TAPE):
        return "backward"
    if library_of(file) not in KERAS:
        return None
    folders = file.split(os.sep)
    if "optimizers" in folders and name in UPDATES:
        return "optimizer"
    if any(folder in folders for folder in LOSSES):
        return "loss"
    return FORWARD if name == "__call__" and folders[-1] in LAYERS else None


def _tell() -> None:
    """At twice as many looks as the last time."""
    global _told
    looks, steps = sum(_looks.values()), windows.total("train")
    if looks < max(LEAST_LOOKS, 2 * _told) or not steps or not placement.eager_only():
        return
    _told = looks
    compute_ms = windows.compute_s("train") / steps * 1e3
    send_latest(
        "layer_times",
        key="looks",
        asked="automatic",
        source="looks",
        steps=steps,
        whole_steps=steps,
        step_ms=windows.wall_s("train") / steps * 1e3,
        compute_ms=compute_ms,
        parts={part: round(count / looks * compute_ms, 5) for part, count in _looks.items()},
        note=f"{NOTE} ({looks} looks)",
    )


def forked() -> None:
    """What was seen is the parent's."""
    global _told
    _looks.clear()
    _told = 0
