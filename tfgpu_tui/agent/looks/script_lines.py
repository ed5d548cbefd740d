"""Which lines of the script its own Python is at, outside of the training step: looks at the stacks, ten a second.

A look takes some ten microseconds on a thread of the agent, which gets its turn when the training's thread lets go of
the interpreter: in a call that waits or computes without it, or every 5 ms. So it is a share of looks, no stopwatch,
and one that meets a loop just turning (where the last batch is freed) says nothing of what took the time before.

    the thread that trains, at a line of the script, in no compiled function,
    nor between an eager step's tape and its optimizer                            "loop"
    another thread, at a line of the script that TensorFlow or Keras called       "feed" (generators, map functions)
"""

from __future__ import annotations

import atexit
import linecache
import opcode
import os
import threading
from types import CodeType, FrameType
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from ..hooks import runtime, thread_stacks
from ..hooks.autograph_lines import Written, written
from ..hooks.libraries import is_users, library_of
from ..hooks.runtime import every, send_latest
from ..hooks.tracebacks import FOLDER
from ..steps import custom_steps, keras_loop, keras_sums
from . import eager_parts

LOOK_S = 0.1
TELL_S = 2.0
MAX_LINES = 4096
MAX_FRAMES = 64
TOLD = 5
"""Lines of each kind that are told, the most frequent first."""
MAX_TEXT = 160
STEP_HOOKS = frozenset(
    (os.path.join(FOLDER, "steps", file), name)
    for file, name in (
        ("custom_loop.py", "call"),
        ("custom_loop.py", "train_on_batch"),
        ("session_loop.py", "run"),
        ("custom_lane.py", "next_internal"),
        ("input_wait.py", "get_next"),
        ("device_wait.py", "read"),
    )
)
"""What stands on the stack, by file and function, while a compiled function runs, or a batch or a result is waited
for."""
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


class At(NamedTuple):
    """Where a frame of a stack is, without what it works on."""

    code: CodeType
    instruction: int
    written: Written
    """Its line is 0 in an installed library."""
    frame_id: int


class _Seen:
    """What was seen so far in this process."""

    def __init__(self) -> None:
        self.looks = 0
        """At the thread that trains, while it trains."""
        self.told = 0
        self.steps: Dict[int, Tuple[int, int]] = {}
        """Frame of the script from which a step of its own loop ran -> (its code's id, the instruction)."""
        self.lines: Dict[Line, List[int]] = {}
        """Line -> [looks, of these in which it waited for another thread, process or machine, of these in which a layer
        ran op by op]."""
        self.functions: Dict[Line, str] = {}

    def add(self, line: Line, function: str, waits: bool, in_layer: bool) -> None:
        """One look."""
        if line not in self.lines and len(self.lines) >= MAX_LINES:
            return
        counts = self.lines.setdefault(line, [0, 0, 0])
        counts[0] += 1
        counts[1] += waits
        counts[2] += in_layer
        self.functions[line] = function

    def stepped(self, stack: List[At]) -> None:
        """A look at a step of a loop of the script's own."""
        if len(self.steps) >= MAX_FRAMES:
            self.steps.clear()
        for at in stack:
            if is_users(at.code.co_filename):
                self.steps[at.frame_id] = id(at.code), at.instruction


_seen = _Seen()
_pid = os.getpid()


def stepped_at(frame_id: int, code: CodeType) -> Optional[int]:
    """The instruction of this frame at which a step of the script's own loop was seen last; None where none was."""
    seen_code, instruction = _seen.steps.get(frame_id, (0, 0))
    return instruction if seen_code == id(code) else None


def _at(frame: FrameType) -> At:
    code = frame.f_code
    # The line costs a search, and only those of the script are asked for.
    line = 0 if library_of(code.co_filename) is not None else frame.f_lineno or 0
    return At(code, frame.f_lasti, written(code.co_filename, line, code.co_name), id(frame))


def _in_step(within: List[At]) -> bool:
    """Whether a call that is part of a step is among these."""
    return any((at.code.co_filename, at.code.co_name) in STEP_HOOKS for at in within)


def _turns(at: At) -> bool:
    """Whether a frame is between two turns of a loop, in none of its statements."""
    return opcode.opname[at.code.co_code[at.instruction]].startswith(("FOR_ITER", "JUMP"))


def _place(thread: int, stack: List[At], loop: Optional[keras_sums.Loop]) -> Optional[Tuple[str, At]]:
    """What a thread is at, as (kind, frame of the script)."""
    training = threading.main_thread().ident if loop is None else loop.thread
    if thread == training:
        _seen.looks += 1
        if loop is None and (custom_steps.computes(thread) or _in_step(stack)):
            _seen.stepped(stack)
        if custom_steps.computes(thread) if loop is None else loop.stamps.function[0] > 0.0:
            if not _in_step(stack):
                eager_parts.seen(at.code for at in stack)
            return None
    place = next((place for place, at in enumerate(stack) if is_users(at.written.file)), None)
    if place is None:
        return None
    at, within, around = stack[place], stack[:place], stack[place + 1 :]
    if thread == training:
        # In a fit, the script's own Python is what Keras calls (callbacks), not the line with the fit.
        own = not _in_step(within) if loop is None else any(one.frame_id == loop.frame_id for one in stack[place:])
        return ("loop", at) if own and (within or not _turns(at)) else None
    called = any(library_of(one.code.co_filename) in ("tensorflow", "keras", "tf_keras") for one in around)
    return ("feed", at) if called else None


@every(LOOK_S)
def _look() -> None:
    global _seen, _pid
    if os.getpid() != _pid:  # forked: what was seen is the parent's
        _seen, _pid = _Seen(), os.getpid()
        eager_parts.forked()
    loops = keras_loop.running()
    loop = loops[0] if loops and loops[0].phase == "train" else None
    if loop is None and runtime.phase() != "training":
        return
    for thread, stack in thread_stacks.of_others(_at).items():
        found = _place(thread, stack, loop)
        if found is not None:
            kind, at = found
            waits = stack[0].code.co_filename in WAITING
            in_layer = any(eager_parts.part(one.code) == eager_parts.FORWARD for one in stack)
            file, number, function = at.written
            _seen.add(Line(kind, file, number), function, waits, in_layer)


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
                "in_layer": counts[2],
            }
            for line, counts in own[:TOLD]
        ]
    send_latest("script_lines", looks=_seen.looks, **fields)


atexit.register(_tell)
