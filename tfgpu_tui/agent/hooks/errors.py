"""The exception that ends a process, told with the place in the user's own code where it came from."""

from __future__ import annotations

import os
import re
import sys
from types import CodeType, FrameType, TracebackType
from typing import Any, Dict, Optional

from . import link, runtime
from .libraries import is_users

FRAMES = re.compile(r'^\s*File "([^"\n]+)", line (\d+), in (\S+)', re.MULTILINE)


def users_frame(frame: Optional[FrameType]) -> Optional[FrameType]:
    """The innermost frame in the user's own code, from this one outwards; None where there is none."""
    while frame is not None and not is_users(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def innermost_user_frame(traceback: Optional[TracebackType]) -> Optional[tuple[CodeType, int]]:
    """Code and line of the deepest frame in the user's own code; None where there is none."""
    found = None
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if is_users(code.co_filename):
            found = (code, traceback.tb_lineno)
        traceback = traceback.tb_next
    return found


def _told_place(text: str) -> Optional[Dict[str, Any]]:
    """The deepest line of the user's own code that the message itself names: TensorFlow writes there where in a graph
    or in a Python function of a pipeline it happened, and raises elsewhere."""
    for match in reversed(list(FRAMES.finditer(text))):
        file = _whole(match[1])
        if file is not None and is_users(file):
            return {"file": file, "line": int(match[2]), "function": match[3]}
    return None


def _whole(name: str) -> Optional[str]:
    """The file of that name; None where there is none. XLA takes off what all files of its message begin with."""
    if os.path.isabs(name):
        return name if os.path.isfile(name) else None
    folder = os.path.abspath(os.path.dirname(sys.argv[0] if sys.argv else ""))
    while not os.path.isfile(os.path.join(folder, name)):
        if folder == os.path.dirname(folder):
            return os.path.abspath(name) if os.path.isfile(name) else None
        folder = os.path.dirname(folder)
    return os.path.join(folder, name)


def _place(value: BaseException, traceback: Optional[TracebackType]) -> Dict[str, Any]:
    frame = innermost_user_frame(traceback)
    if frame is not None:
        code, line = frame
        return {"file": os.path.abspath(code.co_filename), "line": line, "function": code.co_name}
    if isinstance(value, SyntaxError):
        return {"file": value.filename, "line": value.lineno, "function": None}
    return {"file": None, "line": None, "function": None}


def report(cls: type[BaseException], value: BaseException, traceback: Optional[TracebackType]) -> None:
    """Send `script_error`."""
    text = str(value)
    place = _told_place(text) or _place(value, traceback)
    if len(text) > 4000:  # TensorFlow puts a traceback before the reason
        text = text[:2000] + "\n…\n" + text[-2000:]
    runtime.send("script_error", exception=cls.__name__, message=text, main=link.is_main(), **place)
    # A process that dies of this exception may leave without atexit (os._exit in a multiprocessing child).
    if sys.is_finalizing():
        runtime.flush()
    else:
        runtime.hurry()
