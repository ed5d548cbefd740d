"""Python inside the training's graph: the functions of py_function, numpy_function and py_func, with their times.

Those of the input pipeline are none of these (`input.pipeline` tells them). A function's time is that of its calls
while the script trains, in whatever thread of TensorFlow's runs them; it may run beside other ops of the step.

Private APIs: `script_ops.FuncRegistry.insert` and `.__call__`, by which TensorFlow comes back to Python, and
`EagerFunc` (TensorFlow 2.15 to 2.21); `tf_stack.extract_stack`, which knows the script's own lines where AutoGraph
rewrote them.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from types import FrameType
from typing import Any, Dict, Optional, Tuple

from ..hooks import places, runtime, user_function
from ..hooks.libraries import GENERATED, is_users
from ..hooks.runtime import every, executing_eagerly, guarded, on_import, send_latest
from ..steps import windows
from ..steps.custom_loop import python_in_graph

HOOK = "graph_python"
TELL_S = 0.5
PIPELINE = os.path.join("data", "ops", "structured_function.py")
"""On the stack while a function of the input pipeline is traced."""
TRAINS = frozenset({"training", "tracing"})
MAX_FUNCTIONS = 64
_counter = time.perf_counter


class Source:
    """One Python function in the graph of a step, and what its calls took so far."""

    def __init__(self, name: str, kind: str, file: Optional[str], line: Optional[int], at: Optional[str]) -> None:
        self.name = name
        self.kind = kind
        """py_function (called with tensors) | numpy_function (with arrays)."""
        self.file = file
        self.line = line
        self.at = at
        """The script's line that put it into the graph, `train.py:12`."""
        self.calls = 0
        self.seconds = 0.0


_sources: Dict[Tuple[str, Optional[str], Optional[int], Optional[str]], Source] = {}
_by_token: Dict[str, Source] = {}
_told = (0, 0)


def _for_pipeline(frame: Optional[FrameType]) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.endswith(PIPELINE):
            return True
        frame = frame.f_back
    return False


def _script_line() -> Optional[Tuple[str, int]]:
    """The innermost line of the script's on this thread's stack."""
    from tensorflow.python.util import tf_stack

    found = [(frame.filename, frame.lineno) for frame in tf_stack.extract_stack() if is_users(frame.filename)]
    return found[-1] if found else None


@guarded(HOOK)
def _inserted(token: str, function: Any) -> None:
    """A Python function gets its name in the graph that is traced now."""
    if executing_eagerly() or _for_pipeline(sys._getframe(2)):
        return
    eager = type(function).__name__ == "EagerFunc"
    # The gradient of an EagerPyFunc is a function of TensorFlow's own, which closes over the token of that.
    forward = user_function.in_closure(user_function.unwrap(function), "token") if eager else None
    known = _by_token.get(forward.decode() if isinstance(forward, bytes) else str(forward))
    source = known or _source(function, "py_function" if eager else "numpy_function")
    if source is not None:
        _by_token[token] = source


def _source(function: Any, kind: str) -> Optional[Source]:
    place, at = user_function.place_of(function), _script_line()
    name = place.function if place else getattr(user_function.unwrap(function), "__name__", "a function")
    file, line = (place.file, place.line) if place else (None, None)
    if at is not None and (
        file is None or place is None or place.library or os.path.basename(file).startswith(GENERATED)
    ):
        file, line = at
    if file is None or not is_users(file) or len(_sources) >= MAX_FUNCTIONS:
        return None  # a library's own
    made = None if at is None else f"{places.shown(at[0])}:{at[1]}"
    return _sources.setdefault((name, file, line, made), Source(name, kind, os.path.abspath(file), line, made))


@on_import("tensorflow.python.ops.script_ops")
def _registry(module: Any) -> None:
    cls = module.FuncRegistry
    original_insert, original_call = cls.insert, cls.__call__

    @functools.wraps(original_insert)
    def insert(self: Any, func: Any) -> Any:
        token = original_insert(self, func)
        _inserted(token, func)
        return token

    @functools.wraps(original_call)
    def call(self: Any, token: Any, device: Any, args: Any) -> Any:
        source = _by_token.get(token)
        if source is None:
            return original_call(self, token, device, args)
        python_in_graph(True)
        start = _counter()
        try:
            return original_call(self, token, device, args)
        finally:
            python_in_graph(False)
            if runtime.phase() in TRAINS:
                source.calls += 1
                source.seconds += _counter() - start

    cls.insert, cls.__call__ = insert, call


@every(TELL_S, last=True)
def _tell() -> None:
    global _told
    # Steps are counted a little later than the calls in them: what catches up after the last call is told, too.
    now = sum(source.calls for source in list(_sources.values())), windows.total("train")
    if not now[0] or now == _told:
        return
    _told = now
    functions = [dict(vars(source)) for source in list(_sources.values()) if source.calls]
    functions.sort(key=lambda entry: -entry["seconds"])
    send_latest("graph_python", steps=now[1], functions=functions[:10])


def _forked() -> None:
    for source in list(_sources.values()):
        source.calls, source.seconds = 0, 0.0


os.register_at_fork(after_in_child=_forked)
