"""What compute is made of: a short window of TensorFlow's profiler, for the knob `profile`, the command `profile`, or
by itself where `profile_when` says so (`profile=off`: never).

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
from typing import Any, Dict, List, Optional, Set, Tuple

from ..hooks.link import Event, is_main
from ..hooks.runtime import asked_knobs, every, guarded, on_command, on_import, send
from ..hooks.tf_context import initialised_context
from ..steps import windows
from . import placement, profile_gpu, profile_split, profile_trace, profile_when

HOOK = "profile"
POLL_S = 0.1
AFTER_STEPS = 20
"""The first steps trace and compile."""
SEEN_S = 5.0
MIN_WINDOW_S = 0.1
TRIES = 5
"""A window may hold no whole step; each further one is twice as long."""
IDLE_TRIES = 50
"""A window may lie between two epochs, where no step runs: it costs next to nothing, and is no try. So many take longer
than `SEEN_S`, after which steps are waited for anyway."""
WHOLE = 2
"""An optimizer that ran so often had every layer run between: less may be the end of a step, without its beginning."""
MAX_WINDOW_S = 20.0
AUTOMATIC_STEPS = 3
AUTOMATIC_MIN_WINDOW_S = 0.03
AUTOMATIC_TRIES = 2
AUTOMATIC_MOST_BYTES = 16 << 20
"""Of a trace that nobody asked for: reading it takes the interpreter from the training, some MB a second."""
SLEEP_S = 0.3
"""A window up to this long is waited for at once; a longer one by looking again and again."""
ATTRIBUTED = 0.05
"""Where less of the time than this share belongs to ops of the training's graph, there is nothing to show by layer."""
OPTIONS = {"host_tracer_level": 2, "python_tracer_level": 0, "device_tracer_level": 1}


class _State:
    def __init__(self) -> None:
        self.wanted = 0
        self.asked = "user"
        """user | automatic: who wants it."""
        self.automatic = False
        self.plan = profile_when.Plan()
        self.cost_s = 0.0
        """Of this look so far: the profiler's start and end, and reading."""
        self.usual_s = 0.0
        """A step's time before it."""
        self.told_refusals: Set[str] = set()
        self.tries = 0
        """Windows so far in which a step ran."""
        self.idle = 0
        """Those in which none did."""
        self.seen: List[Tuple[float, int]] = []
        """(time, training steps so far), the last seconds of it: for the time of one step."""
        self.session: Any = None
        self.began_s = self.until_s = 0.0


_state = _State()
_lock = threading.Lock()


def _refuse(reason: str) -> None:
    automatic = _state.asked == "automatic"
    _over_with(told=False)
    if not (automatic and reason in _state.told_refusals):
        _state.told_refusals.add(reason)
        send("layer_times", asked="automatic" if automatic else "user", refused=reason)


def _want(steps: int, asked: str) -> None:
    _state.wanted, _state.asked, _state.cost_s = steps, asked, 0.0
    _state.tries = _state.idle = 0


def _over_with(told: bool) -> None:
    """The look has ended, whatever came of it."""
    _state.wanted = 0
    (_state.plan.looked if told else _state.plan.failed)(_state.cost_s)


@on_command("profile")
def _asked(command: Event) -> None:
    count = command.get("steps")
    _want(count if isinstance(count, int) and count > 0 else 5, "user")


@every(POLL_S)
def _look() -> None:
    now, total = time.monotonic(), windows.total("train")
    if _state.session is not None:
        if now >= _state.until_s:
            _finish()
        return
    _state.plan.note(profile_when.Now(total, windows.wall_s("train"), windows.compute_s("train")))
    _state.seen = [entry for entry in _state.seen if entry[0] > now - SEEN_S] + [(now, total)]
    if not _state.wanted and not (_state.automatic and _wants_itself()):
        return
    if placement.eager_only():
        _refuse("the script runs op by op, without a graph: the profiler can't tell which layer an op belongs to")
        return
    each_s = _step_s()
    if total < AFTER_STEPS or each_s is None or initialised_context() is None or not placement.attribution():
        return
    _state.usual_s = each_s
    window_s = _window_s(_state.wanted, each_s, _state.asked) * 2**_state.tries
    if _begin(window_s) and window_s <= SLEEP_S:
        time.sleep(window_s)
        _finish()


def _wants_itself() -> bool:
    """Whether to look without being asked; only the script's own process does."""
    if not is_main():
        return False
    each_s = _step_s()
    if each_s is None:
        return False
    window_s = _window_s(AUTOMATIC_STEPS, each_s, "automatic")
    gpu = any(device.startswith("GPU") for device in placement.devices().values())
    if not _state.plan.due(window_s, window_s / each_s, len(placement.devices()), gpu):
        return False
    _want(AUTOMATIC_STEPS, "automatic")
    return True


def _window_s(steps: int, each_s: float, asked: str) -> float:
    least_s = MIN_WINDOW_S if asked == "user" else AUTOMATIC_MIN_WINDOW_S
    return min(max(each_s * (steps + 1), least_s), MAX_WINDOW_S)  # it begins in the middle of a step


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
        windows.profiler_looks()
        begun_s = time.perf_counter()
        try:
            # Where results would be written; nothing is, for they are only read from memory.
            session.start("", OPTIONS)
        except Exception as error:
            windows.profiler_looked()
            _refuse(f"TensorFlow's profiler does not start: {error}")
            return False
        _state.cost_s += time.perf_counter() - begun_s
        _state.session, _state.began_s = session, time.monotonic()
        _state.until_s = _state.began_s + window_s
    return True


def _end() -> "Optional[Tuple[bytes, float]]":
    """Ends our session; its bytes and the seconds that it lasted."""
    with _lock:
        session, _state.session = _state.session, None
        if session is None:
            return None
        begun_s = time.perf_counter()
        wall_s = time.monotonic() - _state.began_s
        raw = session.stop()
        _state.cost_s += time.perf_counter() - begun_s
        return raw, wall_s


def _finish() -> None:
    ended = _end()
    if ended is None:
        return
    try:
        _read(*ended)
    except Exception as error:
        _refuse(f"the trace can't be read: {type(error).__name__}: {error}")
        raise
    finally:
        windows.profiler_looked()


def _read(raw: bytes, wall_s: float) -> None:
    if _state.asked == "automatic" and len(raw) > AUTOMATIC_MOST_BYTES:
        _refuse(f"the trace of a few steps has {len(raw) >> 20} MiB, too much to be read beside the training")
        return
    begun_s = time.thread_time()
    found, attribution = profile_trace.trace(raw), placement.attribution()
    del raw
    times = profile_trace.times(found)
    split = profile_split.split(found, attribution, placement.devices())
    gpus = None if split is None else profile_gpu.look(found.runs, attribution, split.window, split.steps)
    _state.cost_s += time.thread_time() - begun_s
    steps = profile_split.steps_in(times, attribution)
    if not (steps or found.calls or any(run.compiled for run in found.runs)) and _state.idle < IDLE_TRIES:
        _state.idle += 1
        return
    _state.tries += 1
    most = TRIES if _state.asked == "user" else AUTOMATIC_TRIES
    whole = steps >= WHOLE or (split is not None and profile_split.all_compiled(split))
    if not whole and _state.tries < most:
        return
    tell(steps, times, split, attribution, wall_s, gpus)


def tell(
    count: int,
    times: profile_trace.Times,
    split: Optional[profile_split.Split],
    attribution: Dict[str, Tuple[str, bool]],
    wall_s: float,
    gpus: Optional[profile_gpu.Gpus] = None,
) -> None:
    """Sends the time by layer, where the trace's ops are those of the training's graph. `count`: of steps in them."""
    total = sum(op.ms for op in times.ops.values())
    known = sum(op.ms for name, op in times.ops.items() if name in attribution)
    note = None
    if count and known >= ATTRIBUTED * total and split is None:
        _refuse("no whole step ran while the profiler looked")
        return
    if not count or known < ATTRIBUTED * total or (split is not None and profile_split.all_compiled(split)):
        note = "XLA compiles the whole step: the profiler names its instructions, and no op of a layer"
        if split is None or not split.parts.get(profile_split.COMPILED):
            _refuse("the profiler names no op of a layer" if times.ops else "no op ran while the profiler looked")
            return
        count = split.steps
    layers: Dict[str, Dict[str, float]] = {}
    for name, op in times.ops.items():
        if name in attribution:
            layer, backward = attribution[name]
            row = layers.setdefault(layer, {"forward_ms": 0.0, "backward_ms": 0.0})
            row["backward_ms" if backward else "forward_ms"] += op.ms / count
    slower_s = 0.0 if split is None else max(0.0, split.step_ms / 1e3 - _state.usual_s) * wall_s / split.step_ms * 1e3
    _state.cost_s += slower_s
    _over_with(told=True)
    send(
        "layer_times",
        asked=_state.asked,
        cost_s=_state.cost_s,
        lost_steps=_state.cost_s / _state.usual_s if _state.usual_s else None,
        steps=count,
        wall_s=wall_s,
        layers={name: {k: round(ms, 5) for k, ms in row.items()} for name, row in layers.items()},
        devices={name: ms / count for name, ms in times.devices.items()},
        unattributed_ms=(total - known) / count,
        note=note,
        **_fields(split),
        **({} if gpus is None else gpus._asdict()),
    )


def _fields(split: Optional[profile_split.Split]) -> Dict[str, Any]:
    """What compute is made of, as the event's fields; nothing where the window held no whole step."""
    if split is None:
        return {}
    return {
        "whole_steps": split.steps,
        "step_ms": split.step_ms,
        "compute_ms": split.compute_ms,
        "parts": {part: round(ms, 5) for part, ms in split.parts.items()},
        "by_layer": {name: {part: round(ms, 5) for part, ms in row.items()} for name, row in split.by_layer.items()},
        "ops": split.ops,
        "idle": {part: round(ms, 5) for part, ms in split.idle.items()},
        "turns": split.turns,
    }


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
        windows.profiler_looked()
        _refuse("the script started the profiler itself meanwhile: it allows only one session")


@guarded(HOOK)
def _over() -> None:
    """At the end of the script: TensorFlow goes away, and who asked hears why there is nothing."""
    _end()
    if _state.wanted and _state.asked == "user":
        _refuse(f"the training ended before: it needs {AFTER_STEPS} steps, and a second in which the steps are even")


def _start() -> None:
    text = asked_knobs().get("profile", "")
    _state.wanted = int(text) if text.isdigit() else 0
    _state.automatic = text != "off"
    atexit.register(_over)


_start()
