"""How long the calls of `fit` took as a whole: what is not in their steps is the price of starting each.

Private APIs: `keras.src.backend.tensorflow.trainer` (Keras 3.3 to 3.15), `keras.src.engine.training` (Keras 2.15),
`tf_keras.src.engine.training` (2.21).
"""

from __future__ import annotations

import functools
import time
from typing import Any

from .keras_models import with_fit
from .runtime import guarded, send_latest

HOOK = "fit_calls"
_counter = time.perf_counter


class _Calls:
    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0
        self.depth = 0


_calls = _Calls()


@guarded(HOOK)
def _returned(seconds: float) -> None:
    _calls.count += 1
    _calls.seconds += seconds
    send_latest("fit_calls", count=_calls.count, wall_s=_calls.seconds)


@with_fit
def _patch(cls: Any) -> None:
    original = cls.fit

    @functools.wraps(original)
    def fit(self: Any, *args: Any, **kwargs: Any) -> Any:
        _calls.depth += 1
        start = _counter()
        try:
            return original(self, *args, **kwargs)
        finally:
            _calls.depth -= 1
            if not _calls.depth:  # a fit within a callback of another one is part of that
                _returned(_counter() - start)

    cls.fit = fit
