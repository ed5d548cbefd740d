"""At which lines the main thread stands while no step runs: before, between and after the trainings, and in `fit`
before its first step. Looks at its stack, ten a second; each stands for the time since the one before.

As in `script_lines`, a look gets its turn when the main thread lets go of the interpreter: seconds are near the truth
where a line takes long, and say little of lines that take milliseconds.
"""

from __future__ import annotations

import atexit
import importlib
import linecache
import os
import time
from types import CodeType, FrameType
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from ..hooks import runtime, thread_stacks
from ..hooks.autograph_lines import Written, written
from ..hooks.libraries import is_users, library_of
from ..hooks.runtime import every, send_latest

LOOK_S = 0.1
TELL_S = 2.0
PARTS = ("imported", "building", "preparing", "ending", "idle")
MAX_PLACES = 2048
TOLD = 8
"""Places that are told, those where it stood longest first."""
MAX_TEXT = 160
KERAS = ("keras", "tf_keras")
IMPORTS = ("<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>", importlib.__file__)
_counter = time.perf_counter


class Place(NamedTuple):
    """Where the main thread stands."""

    part: str
    """Under which name the time is summed: one of PARTS."""
    doing: str
    """import | keras | tensorflow | python: what its line of the script called."""
    file: str
    line: int
    function: str
    within: Optional[str]
    """The innermost function of Keras that it stands in, as `array_data_adapter.py:120 __init__`."""


class _Stood:
    """What was seen so far in this process."""

    def __init__(self) -> None:
        self.at = _counter()
        self.looks = self.told = 0
        self.seconds: Dict[Place, float] = {}


_stood = _Stood()
_pid = os.getpid()


def _at(frame: FrameType) -> Tuple[CodeType, Written]:
    """The line costs a search: only those that may be shown are asked for."""
    code = frame.f_code
    shown = library_of(code.co_filename) in (None, *KERAS)
    return code, written(code.co_filename, (frame.f_lineno or 0) if shown else 0, code.co_name)


def _place(part: str, stack: List[Tuple[CodeType, Written]]) -> Optional[Place]:
    """Where a stack stands; None where no line of the script is on it."""
    imports, called, within = False, None, None
    for code, (origin, line, function) in stack:
        if is_users(origin):
            doing = "import" if imports else called or "python"
            return Place(part, doing, origin, line, function, within)
        file = code.co_filename
        imports = imports or file in IMPORTS
        library = library_of(file)
        if library in KERAS:
            within = within or f"{os.path.basename(file)}:{line} {code.co_name}"
            called = "keras"
        elif library == "tensorflow":
            called = library
    return None


@every(LOOK_S)
def _look() -> None:
    global _stood, _pid
    if os.getpid() != _pid:  # forked: what was seen is the parent's
        _stood, _pid = _Stood(), os.getpid()
    now = _counter()
    since, _stood.at = now - _stood.at, now
    part = runtime.part()
    if part not in PARTS:
        return
    place = _place(part, thread_stacks.of_main(_at))
    if place is None or (place not in _stood.seconds and len(_stood.seconds) >= MAX_PLACES):
        return
    _stood.looks += 1
    _stood.seconds[place] = _stood.seconds.get(place, 0.0) + since


@every(TELL_S)
def _tell() -> None:
    if os.getpid() != _pid or _stood.looks == _stood.told:
        return
    _stood.told = _stood.looks
    longest = sorted(_stood.seconds.items(), key=lambda item: -item[1])[:TOLD]
    doing: Dict[str, float] = {}
    for place, seconds in _stood.seconds.items():
        key = f"{place.part}/{place.doing}"
        doing[key] = doing.get(key, 0.0) + seconds
    send_latest(
        "stood",
        looks=_stood.looks,
        doing={name: round(seconds, 3) for name, seconds in doing.items()},
        places=[_row(place, seconds) for place, seconds in longest],
    )


def _row(place: Place, seconds: float) -> Dict[str, Any]:
    return {
        "part": place.part,
        "doing": place.doing,
        "file": os.path.abspath(place.file),
        "line": place.line,
        "function": place.function,
        "text": linecache.getline(place.file, place.line).strip()[:MAX_TEXT],
        "within": place.within,
        "seconds": round(seconds, 3),
    }


atexit.register(_tell)
