"""How long a thread waits for a device's results: `float(loss)`, `tensor.numpy()`, Keras' conversion of logs.

On a GPU (and in TensorFlow's asynchronous eager mode) a call returns once its work is queued. Who then reads a result
waits until it is computed: that is the step's compute, not Python's own work between two steps.

Private APIs: `ops._EagerTensorBase._numpy` (TensorFlow 2.15 to 2.21), behind `float()`, `int()`, `bool()` and
`numpy()`; `keras.src.backend.tensorflow.core.convert_to_numpy` (Keras 3.3 to 3.15; `ops.core` in 3.16).
`np.array(tensor)` goes through C alone, and is not seen. Run on an NVIDIA H200 with TensorFlow 2.21.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from threading import get_ident
from typing import Any

from ..hooks.runtime import on_import
from . import fast

LEAST_S = 20e-6
"""What is shorter is no wait, but the call itself."""
_counter = time.perf_counter
_waited: dict[int, float] = {}
"""Thread -> seconds so far."""


def waited(thread: int) -> float:
    """Seconds that this thread waited for results so far, outside of the train function of a fit."""
    return _waited.get(thread, 0.0)


def _timed(original: Callable[..., Any]) -> Callable[..., Any]:
    fit_of, counter, totals, thread, least = fast.fits.get, _counter, _waited, get_ident, LEAST_S

    @functools.wraps(original)
    def read(*args: Any, **kwargs: Any) -> Any:
        me = thread()
        before = totals.get(me, 0.0)
        start = counter()
        result = original(*args, **kwargs)
        took = counter() - start
        if took > least:
            running = fit_of(me)
            if running is None or running[0] <= 0.0:  # else it is within the step, and counted there
                totals[me] = before + took  # one of these may call the other: the outer one counts
        return result

    return read


@on_import("tensorflow.python.framework.ops")
def _tensors(module: Any) -> None:
    cls = module._EagerTensorBase
    cls._numpy = _timed(cls._numpy)


@on_import("keras.src.backend.tensorflow.core")
@on_import("keras.src.backend.tensorflow.ops.core")
def _keras(module: Any) -> None:
    module.convert_to_numpy = _timed(module.convert_to_numpy)
