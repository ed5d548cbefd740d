"""What every hook of the agent stands on: patching at import, guarding, sending, and what the training is doing now."""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, Optional, TypeVar

from . import imports, spent
from .link import Event, Link, is_main, stamped

F = TypeVar("F", bound=Callable[..., Any])
AfterExecution = Callable[[Any, str, int], None]

TRACED_IN = ("training", "evaluating", "predicting")
TRACED_BETWEEN = ("imported", "building", "idle")
"""Phases that a trace interrupts; between trainings only one of the main thread does."""

_link: Optional[Link] = None
_off: set[str] = set()
_phase = ""
_part = ""
_phase_lock = threading.Lock()
_after: list[AfterExecution] = []
_before_trace: list[Callable[[], None]] = []
_commands: dict[str, Callable[[Event], None]] = {}
_at_the_end: list[Callable[[], None]] = []
_is_file = False
"""Whether the script is a file, not a module (`-m`) nor text (`-c`)."""
_tracing = threading.local()
_traces = 0
_aside = 0
_eagerly: Optional[Callable[[], bool]] = None
_looks_s = 0.0
_traces_told = -1


# -- the line to the supervisor


def start(socket_path: str) -> None:
    """Once per process: make the link."""
    global _link, _is_file
    if _link is not None:
        return
    _is_file = "__file__" in vars(sys.modules["__main__"]) and sys.modules["__main__"].__spec__ is None
    _link = Link(socket_path, _obey)
    os.register_at_fork(after_in_child=_link.after_fork)


def at_the_end(function: Callable[[], None]) -> Callable[[], None]:
    """Decorator: `function()` runs when the last code of the script has run, and the agent's own last look at it, in
    the main thread, while the interpreter still works."""
    _at_the_end.append(_guarded_by_name(function))
    return function


def end() -> None:
    """The script's own code is over, its functions for `atexit` too: the last that is told."""
    if is_main():
        set_phase("exiting", ends_with=_ends_with())
    if _link is not None:
        _link.close()
    try:
        for function in _at_the_end:
            function()
    except KeyboardInterrupt:
        pass  # the process is ending, only faster now


def _ends_with() -> Optional[int]:
    """The exit code of a process whose script is over, or minus the signal that it will die of; None where only the
    interpreter knows: after `sys.exit`, and where the script is a module (`-m`).

    Python notes an exception that ends it in `sys.last_type`. Where neither that nor `sys.exit` did, it has taken
    `__file__` back out of the script's module before the functions for `atexit` run (`_PyRun_SimpleFile` in
    pythonrun.c, Python 3.9 to 3.13)."""
    cls = getattr(sys, "last_type", None)
    if cls is not None:
        return -signal.SIGINT if issubclass(cls, KeyboardInterrupt) else 1
    return 0 if _is_file and "__file__" not in vars(sys.modules["__main__"]) else None


def send(kind: str, /, **fields: Any) -> None:
    """Queue an event; never blocks, never raises. `fields` are those of `tfgpu_tui.core.events`."""
    if _link is not None:
        _link.put(stamped(kind, fields))


def send_latest(kind: str, /, key: Any = None, **fields: Any) -> None:
    """Queue an event in place of one of the same type and key that is still waiting."""
    if _link is not None:
        _link.put(stamped(kind, fields), (kind, key))


def hurry() -> None:
    """Have the link send soon; returns at once."""
    if _link is not None:
        _link.hurry()


def flush() -> None:
    """Send now what is queued, for a second at most. For ends of processes only."""
    if _link is not None:
        _link.flush()


def on_command(name: str) -> Callable[[Callable[[Event], None]], Callable[[Event], None]]:
    """Decorator: `function(command)` runs on the link's thread when the supervisor sends `{"cmd": name}`."""

    def register(function: Callable[[Event], None]) -> Callable[[Event], None]:
        _commands[name] = guarded(f"command {name}")(function)
        return function

    return register


def _obey(command: Event) -> None:
    function = _commands.get(str(command.get("cmd")))
    if function is not None:
        function(command)


# -- guards


def switch_off(hook: str, error: object) -> None:
    """Mark a hook as failed and say so, once: what it measured is unknown from here on."""
    if hook not in _off:
        _off.add(hook)
        reason = f"{type(error).__name__}: {error}" if isinstance(error, BaseException) else str(error)
        send("hook_off", hook=hook, reason=reason[:500])


def is_off(hook: str) -> bool:
    """Whether the hook has failed."""
    return hook in _off


def any_off(hooks: frozenset[str]) -> bool:
    """Whether one of these hooks has failed."""
    return not _off.isdisjoint(hooks)


def guarded(hook: str, default: Any = None) -> Callable[[F], F]:
    """Decorator for the agent's own functions: an exception switches the hook off and never reaches the user's code.

    From then on, calls of every function guarded under that name return `default` at once.
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if hook in _off:
                return default
            try:
                return function(*args, **kwargs)
            except Exception as error:
                switch_off(hook, error)
                return default

        return call  # type: ignore[return-value]

    return decorate


def _guarded_by_name(function: F) -> F:
    """Guarded under its module's and its own name: a module has several such functions, and each may fail alone."""
    return guarded(f"{function.__module__.rpartition('.')[2]}.{function.__name__.lstrip('_')}")(function)


def on_import(module_name: str) -> Callable[[Callable[[ModuleType], None]], Callable[[ModuleType], None]]:
    """Decorator: `patch(module)` runs right after that leaf module executed, or at once if it is already imported."""

    def register(patch: Callable[[ModuleType], None]) -> Callable[[ModuleType], None]:
        imports.watch(module_name, _guarded_by_name(patch))
        return patch

    return register


def found(what: str, places: Sequence[Any]) -> Sequence[Any]:
    """The places where a patch belongs, as they are; raises where there is none: the hook is off then."""
    if not places:
        raise LookupError(f"no {what}")
    return places


def every(seconds: float, last: bool = False) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Decorator: the function runs about every so many seconds on a thread of the agent, off the training's threads;
    `last`: once more when the process ends."""

    def register(function: Callable[[], None]) -> Callable[[], None]:
        if _link is not None:
            _link.every(seconds, _guarded_by_name(function), last)
        return function

    return register


# -- what was asked for


def asked_knobs() -> dict[str, str]:
    """The knobs of this run, as the user asked for them."""
    knobs = json.loads(os.environ.get("TFGPU_TUI_KNOBS") or "{}")
    return {str(k): str(v) for k, v in knobs.items()}


def stop_after() -> Optional[int]:
    """After how many training steps the user wants the run to stop; None where not asked."""
    text = os.environ.get("TFGPU_TUI_STOP_AFTER", "")
    return int(text) if text.isdigit() and int(text) > 0 else None


# -- what the training is doing


def set_phase(phase: str, part: str = "", **fields: Any) -> None:
    """Tell what the script is doing, when it changes. Only the main process and processes that train speak. `part`:
    under which name its time is summed, where that is not the phase's own. `fields` are further ones of the event."""
    global _phase, _part
    part = part or phase
    if phase == _phase and part == _part:
        return
    with _phase_lock:
        if phase != _phase or part != _part:
            _phase, _part = phase, part
            sums = spent.enter(part)
            if is_main() or phase not in ("importing", "imported"):
                send_latest("phase", phase=phase, part=part, spent_s=sums, **fields)


def phase() -> str:
    """What the script is doing, as `set_phase` was told last."""
    return _phase


def part() -> str:
    """Under which name the time is summed now."""
    return _part


def executing_eagerly() -> bool:
    """Whether TensorFlow runs op by op in this thread now. False while it traces; True while it isn't loaded."""
    return _eagerly is None or bool(_eagerly())


def set_aside(count: int) -> None:
    """Not to count so many of the functions that were traced: none of the training's."""
    global _aside
    _aside += count


def traces() -> int:
    """How many functions this process traced so far; what is traced inside another one does not count, nor what was
    set aside."""
    return _traces - _aside


def after_execution(function: AfterExecution) -> AfterExecution:
    """Decorator: `function(model or None, phase, steps so far)` runs on the training's thread, right after an execution
    in which something was traced, and after the very first one. `phase` is `train`, `test` or `predict`."""
    _after.append(_guarded_by_name(function))
    return function


def before_trace(function: Callable[[], None]) -> Callable[[], None]:
    """Decorator: `function()` runs in the thread that is about to trace a function, outermost ones only."""
    _before_trace.append(_guarded_by_name(function))
    return function


def execution_done(model: Any, phase: str, steps: int) -> None:
    """Called by the loops after each execution: cheap when nothing was traced since the last one."""
    global _traces_told, _looks_s
    # A replica's thread that traces its part of a step is no execution (tf.distribute runs replicas in threads).
    if _traces == _traces_told or not executing_eagerly():
        return
    _traces_told = _traces
    begun_s = time.perf_counter()
    for function in _after:
        function(model, phase, steps)
    _looks_s += time.perf_counter() - begun_s


def looks_s() -> float:
    """Seconds of the training's threads in what runs right after something was traced: a few times in a run."""
    return _looks_s


@on_import("tensorflow.python.eager.context")
def _context(module: Any) -> None:
    global _eagerly
    _eagerly = module.executing_eagerly


@on_import("tensorflow.python.framework.func_graph")
def _count_traces(module: Any) -> None:
    """`func_graph_from_py_func` makes the graph of every tf.function, loop body and map function (TF 2.15 to 2.21)."""
    original = module.func_graph_from_py_func

    @functools.wraps(original)
    def func_graph_from_py_func(*args: Any, **kwargs: Any) -> Any:
        global _traces
        if getattr(_tracing, "inside", False):
            return original(*args, **kwargs)
        for look in _before_trace:
            look()
        _traces += 1
        _tracing.inside = True
        before, part = _phase, _part
        if before in TRACED_IN or (before in TRACED_BETWEEN and threading.current_thread() is threading.main_thread()):
            set_phase("tracing", f"{part}/tracing")
        try:
            return original(*args, **kwargs)
        finally:
            _tracing.inside = False
            if before != _phase:
                set_phase(before, part)

    module.func_graph_from_py_func = func_graph_from_py_func


@on_import("tensorflow")
def _imported(module: Any) -> None:
    set_phase("imported")
