"""The short way through the wrapper of `Function.__call__`, for threads whose loop is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Call = Callable[[Any, Any, Any, Any, Any], Any]

MAX_NOTED = 1 << 16
"""Numbers that a thread's notes may hold: only a monitor that is gone lets them pile up, and the oldest are dropped."""
calls: dict[int, Call] = {}
"""Thread -> `call(slow, original, function, args, kwargs)`: does `original(function, *args, **kwargs)`, or hands over
to `slow(function, *args, **kwargs)`, the wrapper that looks at everything."""
