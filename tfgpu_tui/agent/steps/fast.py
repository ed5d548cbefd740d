"""The short ways through the wrapper of `Function.__call__`, for threads whose loop is known.

They hold no functions of their own to call: between two steps the processor's caches hold TensorFlow's data, and each
frame of Python there costs a microsecond.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional

MAX_NOTED = 1 << 16
"""Numbers that a thread's notes may hold: only a monitor that is gone lets them pile up, and the oldest are dropped."""

fits: dict[int, list[float]] = {}
"""Thread -> one number of the Keras loop that runs in it (`keras_stamps.Stamps.function`). What is called within its
train function is nobody else's step."""

Noted = tuple[Callable[[], Any], int, Callable[[Any], None], set[str], Callable[[], None]]
"""The function (weakly: its id may be another one's later), its place in the step, `note((place, begin, end))`, and
what to call between two calls while the set is not empty."""
lanes: dict[int, Callable[[int], Optional[Noted]]] = {}
"""Thread -> how to note a call of the function with that id, in a loop of the user's own whose steps repeat
(`custom_lane`); None for what is not part of the step."""
