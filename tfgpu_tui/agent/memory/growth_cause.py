"""What grows in this process: Python's containers between two looks, functions traced, Python's objects.

A look walks over the objects that the garbage collector knows (`gc.get_objects`, about 0.1 µs each with the interpreter
held): for suspicions only. Those of the oldest generation, so that nothing is kept alive that was about to go.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections import deque
from inspect import CO_OPTIMIZED
from itertools import compress
from types import FrameType
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from ..hooks import places, runtime
from ..hooks.libraries import is_users

KINDS = (list, dict, set, deque)
MIN_PER_STEP = 0.02
"""Elements a step from which a container counts: a list that grows at each epoch is no leak of steps."""
MIN_LENGTH = 16
"""What grows with the steps has passed this long before memory is a suspicion; most containers never do."""
SAMPLED = 8
LARGEST = 3
OLDEST = 2
READERS = frozenset(("locals", "vars", "eval", "exec", "f_locals", "currentframe", "_getframe"))
"""Names by which a function may get hold of its own local variables as a dictionary."""


class Look(NamedTuple):
    """One look: sizes of containers by their identity, and counters."""

    step: int
    resident: int
    at: float
    sizes: Dict[int, int]
    traces: int
    blocks: int
    """Small blocks that Python's own allocator has handed out: of tensors and arrays the headers only."""


def _containers() -> List[Any]:
    known = gc.get_objects(generation=OLDEST if gc.isenabled() else None)
    # Between two turns of a loop in Python other threads get theirs, and what they let go of would die in this one.
    found = list(compress(known, map(KINDS.__contains__, map(type, known))))
    del known
    return [one for one in found if len(one) >= MIN_LENGTH]


def look(step: int, resident: int) -> Look:
    """What can be counted now."""
    sizes = {id(one): len(one) for one in _containers()}
    return Look(step, resident, time.monotonic(), sizes, runtime.traces(), sys.getallocatedblocks())


def age_s(first: Look) -> float:
    """Seconds since a look."""
    return time.monotonic() - first.at


def difference(first: Look, second: Look) -> Dict[str, Any]:
    """The fields of the `growth_cause` event."""
    steps = second.step - first.step
    grown: List[Tuple[float, int, Any]] = []
    for one in _containers():
        before = first.sizes.get(id(one))
        per_step = (len(one) - before) / steps if before is not None else 0.0
        if per_step >= MIN_PER_STEP:
            element, size = _element(one)
            grown.append((per_step * size, size, (one, per_step, element)))
    grown.sort(key=lambda entry: -entry[0])
    return {
        "steps": steps,
        "resident_bytes": second.resident - first.resident,
        "traces": second.traces - first.traces,
        "python_blocks": second.blocks - first.blocks,
        "containers": [
            {
                "kind": type(one).__name__,
                "name": _name_of(one),
                "element": element,
                "element_bytes": size,
                "per_step": round(per_step, 3),
                "bytes_per_step": round(total),
            }
            for total, size, (one, per_step, element) in grown[:LARGEST]
        ],
    }


def _element(container: Any) -> "tuple[str, int]":
    """What the container's newest elements are, and the bytes that one of them holds (the median of a few)."""
    try:
        newest = list(container.values())[-SAMPLED:] if isinstance(container, dict) else list(container)[-SAMPLED:]
    except RuntimeError:  # it changed meanwhile
        return "?", 0
    if not newest:
        return "?", 0
    sizes = sorted(bytes_of(one) for one in newest)
    return type(newest[-1]).__name__, sizes[len(sizes) // 2]


def bytes_of(value: Any, depth: int = 2) -> int:
    """The memory that a value keeps, as far as it can be told without running code of the user's: arrays and tensors by
    their shape, containers by a few of their elements."""
    library = type(value).__module__.partition(".")[0]
    if library == "numpy" and hasattr(value, "nbytes"):
        return int(value.nbytes)
    if library == "tensorflow" and hasattr(value, "dtype"):
        return int(value.shape.num_elements() or 0) * int(value.dtype.size)
    own = sys.getsizeof(value, 64)
    if depth and type(value) in (list, tuple, dict, set) and len(value):
        parts = list(value.values()) if isinstance(value, dict) else list(value)
        few = parts[:: max(1, len(parts) // SAMPLED)][:SAMPLED]
        own += sum(bytes_of(part, depth - 1) for part in few) * len(parts) // len(few)
    return own


def _name_of(container: Any) -> Optional[str]:
    """`keep in train.py` or `WeightHistory.history`: what a person calls it, where that can be found."""
    for owner in gc.get_referrers(container):
        if isinstance(owner, dict):
            key = _key_of(owner, container)
            file = _file_of(owner)
            if key is not None and file is not None:
                return f"{key} in {file}"
            instance = next((o for o in gc.get_referrers(owner) if getattr(o, "__dict__", None) is owner), None)
            if key is not None and instance is not None:
                return f"{type(instance).__name__}.{key}"
        elif not isinstance(owner, (*KINDS, tuple)):
            key = _key_of(getattr(owner, "__dict__", None) or {}, container)
            if key is not None:
                return f"{type(owner).__name__}.{key}"
    return _local_name(container)


def _key_of(namespace: Dict[Any, Any], container: Any) -> Optional[str]:
    return next((k for k, v in list(namespace.items()) if v is container and isinstance(k, str)), None)


def _file_of(namespace: Dict[Any, Any]) -> Optional[str]:
    """The user's own file whose module has this namespace."""
    name = namespace.get("__name__")
    module = sys.modules.get(name) if isinstance(name, str) else None
    if module is None or vars(module) is not namespace:
        return None
    file = getattr(module, "__file__", None)
    return places.shown(file) if isinstance(file, str) and is_users(file) else None


def _local_name(container: Any) -> Optional[str]:
    """A variable of a function of the user's that runs now."""
    frames = sys._current_frames()
    del frames[threading.get_ident()]  # this one would hold itself, and by it what the script lets go of
    while frames:
        current: Optional[FrameType] = frames.popitem()[1]
        while current is not None:
            code = current.f_code
            if code.co_flags & CO_OPTIMIZED and is_users(code.co_filename) and _is_readable(current):
                values = current.f_locals
                key = _key_of(values, container)
                if type(values) is dict:
                    values.clear()  # a copy, which Python before 3.13 would keep with all that it holds
                if key is not None:
                    return f"{key} in {places.shown(code.co_filename)}"
            current = current.f_back
    return None


def _is_readable(frame: FrameType) -> bool:
    """Whether nobody else may hold what `f_locals` gives: before Python 3.13 that is one dictionary for each frame,
    which `locals()` gives, too."""
    shared = sys.version_info < (3, 13) and not READERS.isdisjoint(frame.f_code.co_names)
    return not shared and frame.f_trace is None
