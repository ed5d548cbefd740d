"""Which lines of the script its own Python is at, outside of the training step: looks at the stacks, ten a second.

A look takes some ten microseconds on a thread of the agent, which gets its turn when the training's thread lets go of
the interpreter: in a call that waits or computes without it, or every 5 ms. So it is a share of looks, no stopwatch,
and one that meets a loop just turning (where the last batch is freed) says nothing of what took the time before.

    the thread that trains, at a line of the script, in no compiled function      "loop"
    another thread, at a line of the script that TensorFlow or Keras called       "feed" (generators, map functions)
"""

from __future__ import annotations

import atexit
import linecache
import opcode
import os
import sys
import threading
from types import FrameType
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from . import keras_loop, keras_sums, runtime
from .errors import users_frame
from .runtime import every, send_latest
from .tracebacks import FOLDER
from .user_function import library_of

LOOK_S = 0.1
TELL_S = 2.0
MAX_LINES = 4096
TOLD = 5
"""Lines of each kind that are told, the most frequent first."""
MAX_TEXT = 160
STEP_HOOKS = frozenset(
    (os.path.join(FOLDER, file), name)
    for file, name in (
        ("custom_loop.py", "call"),
        ("custom_loop.py", "train_on_batch"),
        ("session_loop.py", "run"),
        ("custom_lane.py", "next_internal"),
        ("input_wait.py", "get_next"),
    )
)
"""What stands on the stack, by file and function, while a compiled function runs or a batch is waited for."""
WAITING = tuple(
    os.path.join(os.path.dirname(threading.__file__), name)
    for name in (
        "threading.py",
        "queue.py",
        "selectors.py",
        "socket.py",
        "ssl.py",
        "subprocess.py",
        os.path.join("multiprocessing", "connection.py"),
        os.path.join("multiprocessing", "queues.py"),
    )
)
"""Where Python waits for another thread, process or machine."""


class Line(NamedTuple):
    """A line of the script, and what it is part of."""

    kind: str
    file: str
    line: int


class _Seen:
    """What was seen so far in this process."""

    def __init__(self) -> None:
        self.looks = 0
        """At the thread that trains, while it trains."""
        self.told = 0
        self.lines: Dict[Line, List[int]] = {}
        """Line -> [looks, looks in which it waited for another thread, process or machine]."""
        self.functions: Dict[Line, str] = {}

    def add(self, line: Line, function: str, waits: bool) -> None:
        """One look."""
        if line not in self.lines and len(self.lines) >= MAX_LINES:
            return
        counts = self.lines.setdefault(line, [0, 0])
        counts[0] += 1
        counts[1] += waits
        self.functions[line] = function


_seen = _Seen()
_pid = os.getpid()


def _in_step(top: FrameType, frame: Optional[FrameType]) -> bool:
    """Whether a call that is part of a step lies within a frame of the script, up to the innermost one."""
    within: Optional[FrameType] = top
    while within is not None and within is not frame:
        if (within.f_code.co_filename, within.f_code.co_name) in STEP_HOOKS:
            return True
        within = within.f_back
    return False


def _within(frame: Optional[FrameType], frame_id: int) -> bool:
    """Whether a frame was called, by however many others, from the one with this identity."""
    while frame is not None and id(frame) != frame_id:
        frame = frame.f_back
    return frame is not None


def _turns(frame: FrameType) -> bool:
    """Whether a frame is between two turns of a loop, in none of its statements."""
    return opcode.opname[frame.f_code.co_code[frame.f_lasti]].startswith(("FOR_ITER", "JUMP"))


def _called_by_libraries(frame: Optional[FrameType]) -> bool:
    while frame is not None:
        if library_of(frame.f_code.co_filename) in ("tensorflow", "keras", "tf_keras"):
            return True
        frame = frame.f_back
    return False


def _place(thread: int, top: FrameType, loop: Optional[keras_sums.Loop]) -> Optional[Tuple[str, FrameType]]:
    """What a thread is at, as (kind, frame of the script)."""
    training = threading.main_thread().ident if loop is None else loop.thread
    if thread == training:
        _seen.looks += 1
        if loop is not None and loop.stamps.function[0] > 0.0:
            return None
        frame = users_frame(top)
        # In a fit, the script's own Python is what Keras calls (callbacks), not the line with the fit.
        own = not _in_step(top, frame) if loop is None else _within(frame, loop.frame_id)
        return ("loop", frame) if frame is not None and own and not (frame is top and _turns(frame)) else None
    frame = users_frame(top)
    return ("feed", frame) if frame is not None and _called_by_libraries(frame.f_back) else None


@every(LOOK_S)
def _look() -> None:
    global _seen, _pid
    if os.getpid() != _pid:  # forked: what was seen is the parent's
        _seen, _pid = _Seen(), os.getpid()
    loops = keras_loop.running()
    loop = loops[0] if loops and loops[0].phase == "train" else None
    if loop is None and runtime.phase() != "training":
        return
    own = threading.get_ident()
    for thread, top in sys._current_frames().items():
        found = _place(thread, top, loop) if thread != own else None
        if found is not None:
            kind, frame = found
            code = frame.f_code
            waits = top.f_code.co_filename in WAITING
            _seen.add(Line(kind, code.co_filename, frame.f_lineno), code.co_name, waits)


@every(TELL_S)
def _tell() -> None:
    if os.getpid() != _pid or _seen.looks == _seen.told:
        return
    _seen.told = _seen.looks
    ordered = sorted(_seen.lines.items(), key=lambda entry: -entry[1][0])
    fields: Dict[str, Any] = {}
    for kind in ("loop", "feed"):
        own = [(line, counts) for line, counts in ordered if line.kind == kind]
        fields[f"{kind}_looks"] = sum(counts[0] for _, counts in own)
        fields[kind] = [
            {
                "file": os.path.abspath(line.file),
                "line": line.line,
                "function": _seen.functions[line],
                "text": linecache.getline(line.file, line.line).strip()[:MAX_TEXT],
                "looks": counts[0],
                "waiting": counts[1],
            }
            for line, counts in own[:TOLD]
        ]
    send_latest("script_lines", looks=_seen.looks, **fields)


atexit.register(_tell)
