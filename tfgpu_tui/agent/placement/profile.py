"""Time per layer on demand: a short window of TensorFlow's profiler, for the knob `profile` or the command `profile`.

Only one profiler session can exist in a process. The script's own comes first: while it has one we refuse, and when
it starts one during our window, ours ends before. `_pywrap_profiler.ProfilerSession` and `profiler_v2.start` (in
tensorflow/python/profiler) are what tf.profiler.experimental and TensorBoard's profile_batch use; ran with TF 2.15
and 2.21.
"""

from __future__ import annotations

import atexit
import functools
import sys
import threading
import time
from collections import Counter
from typing import Any, Dict, List, Optional, Tuple

from ..hooks.link import Event
from ..hooks.runtime import asked_knobs, every, guarded, on_command, on_import, send
from ..hooks.tf_context import initialised_context
from ..steps import windows
from . import placement, profile_split, profile_trace
from .names import OPTIMIZER

HOOK = "profile"
POLL_S = 0.1
AFTER_STEPS = 20
"""The first steps trace and compile."""
MIN_WINDOW_S = 0.1
TRIES = 5
"""A window may fall between two epochs, where nothing trains; each further one is twice as long."""
WHOLE = 2
"""An optimizer that ran so often had every layer run between: less may be the end of a step, without its beginning."""
MAX_WINDOW_S = 20.0
SLEEP_S = 0.3
"""A window up to this long is waited for at once; a longer one by looking again and again."""
ATTRIBUTED = 0.05
"""Where less of the time than this share belongs to known ops, there is nothing to show by layer."""
OPTIONS = {"host_tracer_level": 2, "python_tracer_level": 0, "device_tracer_level": 1}


class _State:
    def __init__(self) -> None:
        self.wanted = 0
        self.tries = 0
        """Windows so far."""
        self.seen: List[Tuple[float, int]] = []
        """(time, training steps so far), the last seconds of it: for the time of one step."""
        self.session: Any = None
        self.began_s = self.until_s = 0.0


_state = _State()
_lock = threading.Lock()


def _refuse(reason: str) -> None:
    _state.wanted = 0
    send("layer_times", refused=reason)


@on_command("profile")
def _asked(command: Event) -> None:
    count = command.get("steps")
    _state.wanted, _state.tries = (count if isinstance(count, int) and count > 0 else 5), 0


@every(POLL_S)
def _look() -> None:
    now, total = time.monotonic(), windows.total("train")
    if _state.session is not None:
        if now >= _state.until_s:
            _finish()
        return
    if not _state.wanted:
        return
    if placement.eager_only():
        _refuse("the script runs op by op, without a graph: the profiler can't tell which layer an op belongs to")
        return
    _state.seen = [entry for entry in _state.seen if entry[0] > now - 5.0] + [(now, total)]
    each_s = _step_s()
    if total < AFTER_STEPS or each_s is None or initialised_context() is None or not placement.attribution():
        return
    steps_s = each_s * (_state.wanted + 1)  # it begins in the middle of one
    window_s = min(max(steps_s, MIN_WINDOW_S) * 2**_state.tries, MAX_WINDOW_S)
    if _begin(window_s) and window_s <= SLEEP_S:
        time.sleep(window_s)
        _finish()


def _step_s() -> Optional[float]:
    """Seconds a training step, from how the count grew in the last seconds; None while it does not grow."""
    changes = [entry for before, entry in zip(_state.seen, _state.seen[1:]) if entry[1] > before[1]]
    if len(changes) < 2:
        return None
    (first_s, first), (last_s, last) = changes[0], changes[-1]
    return (last_s - first_s) / (last - first)


def _script_profiles() -> bool:
    """Whether the script holds a session (`_profiler` in tensorflow/python/profiler/profiler_v2.py)."""
    return getattr(sys.modules.get("tensorflow.python.profiler.profiler_v2"), "_profiler", None) is not None


def _begin(window_s: float) -> bool:
    from tensorflow.python.profiler.internal import _pywrap_profiler

    with _lock:
        if _script_profiles():
            _refuse(
                "the script holds the profiler itself (TensorBoard's profile_batch, tf.profiler): it allows only one"
            )
            return False
        session = _pywrap_profiler.ProfilerSession()
        try:
            # Where results would be written; nothing is, for they are only read from memory.
            session.start("", OPTIONS)
        except Exception as error:
            _refuse(f"TensorFlow's profiler does not start: {error}")
            return False
        _state.session, _state.began_s = session, time.monotonic()
        _state.until_s = _state.began_s + window_s
    return True


def _end() -> "Optional[Tuple[bytes, float]]":
    """Ends our session; its bytes and the seconds that it lasted."""
    with _lock:
        session, _state.session = _state.session, None
        if session is None:
            return None
        wall_s = time.monotonic() - _state.began_s
        return session.stop(), wall_s


def _finish() -> None:
    ended = _end()
    if ended is None:
        return
    raw, wall_s = ended
    found, attribution = profile_trace.trace(raw), placement.attribution()
    del raw, ended
    _state.tries += 1
    if steps_in(profile_trace.times(found), attribution) < WHOLE and _state.tries < TRIES:
        return
    _state.wanted = 0
    tell(found, attribution, wall_s)


def tell(found: profile_trace.Trace, attribution: Dict[str, Tuple[str, bool]], wall_s: float) -> None:
    """Sends the time by layer, where the trace's ops are those of the training's graph."""
    times = profile_trace.times(found)
    count = steps_in(times, attribution)
    total = sum(op.ms for op in times.ops.values())
    known = sum(op.ms for name, op in times.ops.items() if name in attribution)
    in_layers = sum(op.ms for name, op in times.ops.items() if not attribution.get(name, ("(",))[0].startswith("("))
    if not count or in_layers < ATTRIBUTED * total:
        _refuse(
            "the profiler names no op of a layer: XLA compiles the whole step"
            if times.ops
            else "no op ran while the profiler looked"
        )
        return
    layers: Dict[str, Dict[str, float]] = {}
    for name, op in times.ops.items():
        if name in attribution:
            layer, backward = attribution[name]
            row = layers.setdefault(layer, {"forward_ms": 0.0, "backward_ms": 0.0})
            row["backward_ms" if backward else "forward_ms"] += op.ms / count
    send(
        "layer_times",
        steps=count,
        wall_s=wall_s,
        layers={name: {k: round(ms, 5) for k, ms in row.items()} for name, row in layers.items()},
        devices={name: ms / count for name, ms in times.devices.items()},
        unattributed_ms=(total - known) / count,
        **_split(found, attribution),
    )


def _split(found: profile_trace.Trace, attribution: Dict[str, Tuple[str, bool]]) -> Dict[str, Any]:
    """What compute is made of, as the event's fields; nothing where the window held no whole step."""
    split = profile_split.split(found, attribution, placement.devices())
    if split is None:
        return {}
    return {
        "whole_steps": split.steps,
        "step_ms": split.step_ms,
        "compute_ms": split.compute_ms,
        "parts": {part: round(ms, 5) for part, ms in split.parts.items()},
        "by_layer": {name: {part: round(ms, 5) for part, ms in row.items()} for name, row in split.by_layer.items()},
        "ops": split.ops,
    }


def steps_in(times: profile_trace.Times, attribution: Dict[str, Tuple[str, bool]]) -> int:
    """How many steps the window held: what the optimizer's ops run once each. Loops run their ops more often."""
    runs = Counter(op.runs for name, op in times.ops.items() if attribution.get(name, ("",))[0] == OPTIMIZER)
    runs = runs or Counter(op.runs for name, op in times.ops.items() if name in attribution)
    return runs.most_common(1)[0][0] if runs else 0


@on_import("tensorflow.python.profiler.profiler_v2")
def _script_starts(module: Any) -> None:
    original = module.start

    @functools.wraps(original)
    def start(*args: Any, **kwargs: Any) -> Any:
        _make_way()
        return original(*args, **kwargs)

    module.start = start


@guarded(HOOK)
def _make_way() -> None:
    if _end() is not None:
        _refuse("the script started the profiler itself meanwhile: it allows only one session")


@guarded(HOOK)
def _over() -> None:
    """At the end of the script: TensorFlow goes away, and who asked hears why there is nothing."""
    _end()
    if _state.wanted:
        _refuse(f"the training ended before: it needs {AFTER_STEPS} steps, and a second in which the steps are even")


def _start() -> None:
    text = asked_knobs().get("profile", "")
    _state.wanted = int(text) if text.isdigit() else 0
    atexit.register(_over)


_start()
