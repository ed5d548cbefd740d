"""Servers: a process that waits, until somebody ends it, for the work that the others of its job send it.

`join` is where the script of a parameter server or of a coordinator's worker stays (tf.distribute.Server), and that of
a tf.data service. Public methods, in tensorflow/python/training/server_lib.py and
tensorflow/python/data/experimental/service/server_lib.py, TensorFlow 2.15 to 2.21.
"""

from __future__ import annotations

import functools
import threading
from typing import Any

from ..hooks import runtime
from ..hooks.runtime import guarded, on_import, set_phase

PHASE = "serving"


def _patch(cls: Any) -> None:
    original = cls.join

    @functools.wraps(original)
    def join(self: Any) -> Any:
        before = _begins()
        try:
            return original(self)
        finally:
            _ends(before)

    cls.join = join


@guarded("serving")
def _begins() -> str:
    """Returns the phase before; '' where this is not what the process does: another thread of it may train."""
    before = runtime.phase()
    if threading.current_thread() is not threading.main_thread() or before not in runtime.TRACED_BETWEEN:
        return ""
    set_phase(PHASE)
    runtime.hurry()
    return before


@guarded("serving")
def _ends(before: str) -> None:
    if before and runtime.phase() == PHASE:
        set_phase(before)


@on_import("tensorflow.python.training.server_lib")
def _servers(module: Any) -> None:
    _patch(module.Server)


@on_import("tensorflow.python.data.experimental.service.server_lib")
def _data_servers(module: Any) -> None:
    _patch(module.DispatchServer)
    _patch(module.WorkerServer)
