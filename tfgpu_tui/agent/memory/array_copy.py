"""Whether `fit` copied its whole arrays to the GPU: TensorFlow's allocator there, before and after Keras took them.

Private API: `TFEpochIterator.__init__` of `keras.src.backend.tensorflow.trainer` (Keras 3.3 to 3.15).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from ..hooks.runtime import guarded, on_import, send_latest
from ..hooks.tf_context import initialised_context
from .memory import devices

HOOK = "array_copy"
SMALLEST_BYTES = 16 * 2**20
"""Smaller arrays may lie where they want."""
SAME_SHARE = 0.5
"""The allocator must have grown by at least this share of the arrays' size."""


def array_bytes(value: Any) -> int:
    """Bytes of all arrays in nested lists and dictionaries."""
    return sum(_sizes(value))


def _sizes(value: Any) -> Iterator[int]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        # A list of numbers is one array; looking at each of a million would take the script's time.
        for part in value[:64]:
            yield from _sizes(part)
    else:
        size = getattr(value, "nbytes", None)
        if isinstance(size, int):
            yield size


@guarded(HOOK, default={})
def _in_use() -> dict[str, int]:
    context = initialised_context()
    return {} if context is None else {d["device"]: d["current_bytes"] for d in devices(context)}


@guarded(HOOK)
def _compare(before: dict[str, int], size: int) -> None:
    for device, now in _in_use().items():
        grown = now - before.get(device, now)
        if grown >= SAME_SHARE * size:
            send_latest("array_copy", key=device, device=device, array_bytes=size, grown_bytes=grown)


@on_import("keras.src.backend.tensorflow.trainer")
def _keras3(module: Any) -> None:
    cls = module.TFEpochIterator
    original = cls.__init__

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        size = guarded(HOOK, default=0)(array_bytes)([kwargs.get(name) for name in ("x", "y", "sample_weight")])
        before = _in_use() if size >= SMALLEST_BYTES else {}
        original(self, *args, **kwargs)
        if before:
            _compare(before, size)

    cls.__init__ = __init__
