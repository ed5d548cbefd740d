"""Where the threads of this process stand: told when the supervisor asks, which it does while no steps come.

One look at the stacks on the link's thread, as `script_lines` has it, and what the system says of each thread. Nothing
is asked of the training, and nothing of it is kept. While a library holds the interpreter's lock this is not reached:
that no answer comes is an answer, too.
"""

from __future__ import annotations

import dis
import linecache
import os
import re
import threading
from types import CodeType, FrameType
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from ..hooks import runtime, thread_stacks
from ..hooks.autograph_lines import Written, written
from ..hooks.libraries import is_users, library_of
from ..hooks.link import Event
from ..hooks.runtime import guarded, on_command, send_latest
from ..hooks.tracebacks import FOLDER
from ..input import pipeline, user_code
from ..steps import callback_times, keras_loop
from . import script_lines
from .thread_waits import native_ids, wait_of

MAX_THREADS = 12
MAX_FRAMES = 200
MAX_TEXT = 160
TELLING = ("tensorflow", "keras", "tf_keras")
DEBUGGERS = ("IPython", "debugpy", "ipdb", "pudb", "pydevd", "_pydevd_bundle")
DEBUGGER_FILES = tuple(os.path.join(os.path.dirname(os.__file__), name) for name in ("pdb.py", "bdb.py"))
ASKS = re.compile(r"\b(input|breakpoint|getpass)\s*\(")
"""A line that waits for what somebody types."""
BATCH_HOOKS = frozenset(("input_wait.py", "custom_lane.py"))
"""Files of the agent whose frames stand on the stack while the next batch is waited for in Python."""


class Place(NamedTuple):
    """A frame, without what it works on."""

    code: CodeType
    instruction: int
    line: int
    frame_id: int
    written: Written
    """Where a person wrote it: another file where AutoGraph made this one of it."""


@on_command("stacks")
def _asked(command: Event) -> None:
    number = command.get("question")
    tell(number if isinstance(number, int) else 0)


@guarded("stacks")
def tell(question: int = 0) -> None:
    """Sends `stacks`: the answer to the question of this number."""
    loops = keras_loop.running()
    training = loops[-1].thread if loops else threading.main_thread().ident
    threads, doing, person = [], None, False
    stacks = thread_stacks.of_others(_place, MAX_FRAMES)
    natives = native_ids(stacks)
    for ident, whole in stacks.items():
        stack = [place for place in whole if not _is_ours(place)]
        if not stack:
            continue
        row = _row(ident, natives.get(ident), stack, ident == training)
        if ident == training:
            person = _waits_for_person(stack, row)
            doing = _doing(whole, stack, loops)
        if row["role"] != "library":
            threads.append(row)
    order = ("trains", "feeds", "script")
    threads.sort(key=lambda row: (order.index(row["role"]), row["file"] is None))
    send_latest(
        "stacks",
        question=question,
        threads=threads[:MAX_THREADS],
        doing=doing,
        phase=runtime.phase(),
        person=person,
        moved=pipeline.moved() + sum(entry["calls"] for entry in user_code.user_times()),
    )


def _place(frame: FrameType) -> Place:
    code, line = frame.f_code, frame.f_lineno or 0
    return Place(code, frame.f_lasti, line, id(frame), written(code.co_filename, line, code.co_name))


def _is_ours(place: Place) -> bool:
    return place.code.co_filename.startswith(FOLDER + os.sep)


def _row(ident: int, native: Optional[int], stack: List[Place], trains: bool) -> Dict[str, Any]:
    """One thread, as `core.rows.ThreadStands` has it."""
    thread = threading._active.get(ident)  # type: ignore[attr-defined]
    native = getattr(thread, "native_id", None) or native
    own = next((place for place in stack if is_users(place.written.file)), None)
    at = _at(stack, own)
    wait = wait_of(native) if native else None
    return {
        "thread": getattr(thread, "name", None),
        "role": _role(stack, own, trains),
        **_own(own),
        "at_file": at.written.file,
        "at_line": at.written.line,
        "at_function": at.written.function,
        "at_library": library_of(at.written.file),
        "waits_in": _waits_in(stack),
        "state": wait.state if wait else None,
        "call": wait.call if wait else None,
        "on": wait.on if wait else None,
        "kernel": wait.where if wait else None,
    }


def _at(stack: List[Place], own: Optional[Place]) -> Place:
    """The frame that says most: the innermost one that is no waiting of Python's own; where no line of the script is on
    the stack, the innermost of TensorFlow or Keras."""
    for place in stack if own is None else ():
        if library_of(place.code.co_filename) in TELLING:
            return place
    return next((place for place in stack if place.code.co_filename not in script_lines.WAITING), stack[0])


def _role(stack: List[Place], own: Optional[Place], trains: bool) -> str:
    if trains:
        return "trains"
    if any(library_of(place.code.co_filename) in TELLING for place in stack):
        return "feeds"
    return "library" if own is None else "script"


def _own(place: Optional[Place]) -> Dict[str, Any]:
    if place is None:
        return {"file": None, "line": None, "function": None, "text": None}
    file, line, function = place.written
    text = linecache.getline(file, line).strip()[:MAX_TEXT]
    return {"file": os.path.abspath(file), "line": line, "function": function, "text": text}


def _waits_in(stack: List[Place]) -> Optional[str]:
    """`queue.get`: the outermost of the innermost frames that are Python's own ways to wait; None where there is
    none."""
    found = None
    for place in stack:
        if place.code.co_filename not in script_lines.WAITING:
            break
        module = os.path.basename(place.code.co_filename).partition(".")[0]
        found = f"{module}.{place.code.co_name}"
    return found


def _waits_for_person(stack: List[Place], row: Dict[str, Any]) -> bool:
    """A debugger, or a line that reads what somebody types."""
    for place in stack:
        name = place.code.co_filename
        if name in DEBUGGER_FILES or library_of(name) in DEBUGGERS or "pydevd" in name:
            return True
    return row["on"] == "terminal" or bool(row["text"] and ASKS.search(row["text"]))


def _doing(whole: List[Place], stack: List[Place], loops: List[Any]) -> Optional[str]:
    """What the thread that trains is in: batch | step | callback | between | loop; None where it is in none."""
    files = {(os.path.basename(place.code.co_filename), place.code.co_name) for place in whole if _is_ours(place)}
    if any(name in BATCH_HOOKS for name, _ in files):
        return "batch"
    if loops:
        if loops[-1].stamps.function[0] != 0.0:
            return "step"
        hook = callback_times.TimedHook.__call__.__code__
        return "callback" if any(place.code is hook for place in whole) else "between"
    if any(key in {(os.path.basename(file), name) for file, name in script_lines.STEP_HOOKS} for key in files):
        return "step"
    return "loop" if _in_loop(stack) else None


def _in_loop(stack: List[Place]) -> bool:
    """Whether a frame is still in the very loop in which steps were seen."""
    for place in stack:
        seen = script_lines.stepped_at(place.frame_id, place.code)
        if seen is not None and any(
            first <= seen <= last and first <= place.instruction <= last for first, last in _loops(place.code)
        ):
            return True
    return False


def _loops(code: CodeType) -> List[Tuple[int, int]]:
    """The loops of a function: offsets of their first and last instruction, by its jumps back."""
    jumps = (*dis.hasjrel, *dis.hasjabs)
    return [
        (int(one.argval), one.offset)
        for one in dis.get_instructions(code)
        if one.opcode in jumps and isinstance(one.argval, int) and one.argval <= one.offset
    ]
