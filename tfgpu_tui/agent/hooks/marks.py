"""What the agent notes of objects that are not its own, kept beside them: no attribute of ours on a user's object.

An attribute would show in `vars()`, travel with `copy` and `pickle`, and fail on objects with slots. What is noted here
goes with the object: it is held weakly, and the number of one that is gone is another's later, so each look compares.

Who notes what:

    steps/custom_region.py     TRAINS      a tf.function, a model (`train_on_batch`), a session's fetches, what a
                                           coordinator schedules: it trains
    input/pipeline.py          _patched    Keras' `CallbackList`: it has the hook already
    looks/child_processes.py   _killed     a process of `multiprocessing`: the script itself ended it

Attributes are left where a table can't be: on graphs of TensorFlow's own, which last as long as a trace, because the
value holds the graph (`overlap`: `_tfgpu_work`, `_tfgpu_arrived`); on a dataset that a knob replaces, because what
takes its place must live just as long (`knob_input`: `_tfgpu_fed`); and on our own wrappers (`user_code`:
`_tfgpu_timed`, `placement_record`: `_tfgpu_placement`).
"""

from __future__ import annotations

import weakref
from typing import Any, Dict, Tuple


class Marks:
    """One kind of mark: object -> value. A look takes some 100 ns."""

    def __init__(self) -> None:
        self._values: Dict[int, Tuple[weakref.ref[Any], Any]] = {}

    def put(self, target: Any, value: Any) -> bool:
        """Note it; False where the object can't be held weakly, and nothing is noted."""
        key, values = id(target), self._values

        def gone(reference: Any) -> None:
            held = values.get(key)
            if held is not None and held[0] is reference:  # else it is another object's already
                values.pop(key, None)

        try:
            values[key] = weakref.ref(target, gone), value
        except TypeError:
            return False
        return True

    def get(self, target: Any, default: Any = None) -> Any:
        """What was noted of this very object."""
        held = self._values.get(id(target))
        return held[1] if held is not None and held[0]() is target else default

    def __len__(self) -> int:
        return len(self._values)
