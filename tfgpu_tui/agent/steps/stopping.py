"""Ending the training early, because the user asked for it: `--stop-after`, or the stop command."""

from __future__ import annotations

import gc
import os
import sys
import threading
from typing import Any, Optional

from ..hooks.link import Event
from ..hooks.runtime import at_the_end, on_command, stop_after
from . import windows

RELEASE_S = 2.0
"""So long the end of a stopped script waits for the calls that its pipelines still make."""
RESOURCES = {
    "tensorflow.python.data.ops.iterator_ops": ("OwnedIterator", "_iterator_resource"),
    "tensorflow.python.data.ops.multi_device_iterator_ops": (
        "OwnedMultiDeviceIterator",
        "_multi_device_iterator_resource",
    ),
}
"""Module -> its class of iterators, and where one holds the handle with which TensorFlow's own iterator ends
(TensorFlow 2.15 to 2.21)."""

_limit = stop_after()
_asked = False
_process = os.getpid()
_kept = False
_handles: list[Any] = []
_script_over, _released = threading.Event(), threading.Event()
_releasing: Optional[threading.Thread] = None


def wanted(pending: int = 0) -> Optional[str]:
    """`stop` or `stop-after` when the training should end after the current batch; None while it should go on.
    `pending` steps are done, but not yet counted."""
    if _asked:
        return "stop"
    if _limit is not None and windows.total("train") + pending >= _limit:
        return "stop-after"
    return None


def stop_at(total_steps: int) -> None:
    """Have the training end after so many steps, unless it was asked to end before."""
    global _limit
    _limit = total_steps if _limit is None else min(_limit, total_steps)
    _be_ready()


def keep_iterators() -> None:
    """Release none at the end: other threads still run functions that take from them."""
    global _kept
    _kept = True


@on_command("stop_training")
def _stop(command: Event) -> None:
    global _asked
    _asked = True
    _be_ready()


def _be_ready() -> None:
    """Start the thread that releases iterators: at the end of the process, Python 3.12 and later start none."""
    global _releasing
    if _releasing is None:
        thread = threading.Thread(target=_release, name="tfgpu-tui end", daemon=True)
        thread.start()
        _releasing = thread


def _release() -> None:
    _script_over.wait()
    _handles.clear()  # each waits for its pipeline here, without Python's lock
    _released.set()


@at_the_end
def _release_iterators() -> None:
    """End the iterators of a script that we stopped, while its interpreter still runs; its own code is over.

    A loop that ends early leaves a pipeline that goes on fetching, and an iterator that is often in a reference cycle
    (Keras' epoch iterator) or held by a traceback. The closing interpreter would destroy it, and TensorFlow waits there
    until each call has returned. A call of Python never does: its thread ends as it asks for the lock of an
    interpreter that closes (`numpy_function`, `py_function`, generators; TensorFlow 2.15 to 2.21, without us, too).
    In a thread of its own, for a call may also never return before: then the end of the process does not wait for it.
    """
    if wanted() is None or _kept or _releasing is None or os.getpid() != _process:
        return
    classes = {
        getattr(sys.modules[module], name): handle
        for module, (name, handle) in RESOURCES.items()
        if module in sys.modules
    }
    for thing in gc.get_objects():
        handle = classes.get(type(thing))
        if handle is not None:
            _handles.append(vars(thing).pop(handle, None))
    if _handles:
        _script_over.set()
        _released.wait(RELEASE_S)


if _limit is not None:
    _be_ready()
