"""The exception that ends a process, told with the place in the user's own code where it came from."""

from __future__ import annotations

import os
import re
import sys
from types import CodeType, FrameType, TracebackType
from typing import Any, Dict, Optional

from . import link, runtime
from .autograph_lines import Written, written
from .libraries import is_users

FRAMES = re.compile(r'^\s*File "([^"\n]+)", line (\d+), in (\S+)', re.MULTILINE)


def users_place(frame: Optional[FrameType]) -> Optional[Written]:
    """The innermost place in the user's own code, from this frame outwards; None where there is none."""
    while frame is not None:
        found = _users(frame.f_code, frame.f_lineno)
        if found is not None:
            return found
        frame = frame.f_back
    return None


def _users(code: CodeType, line: Optional[int]) -> Optional[Written]:
    """None in a library's code."""
    at = written(code.co_filename, line or 0, code.co_name)
    return at._replace(file=os.path.abspath(at.file)) if is_users(at.file) else None


def innermost_user_place(traceback: Optional[TracebackType]) -> Optional[Written]:
    """The deepest place in the user's own code; None where there is none."""
    found = None
    while traceback is not None:
        found = _users(traceback.tb_frame.f_code, traceback.tb_lineno) or found
        traceback = traceback.tb_next
    return found


def _told_place(text: str) -> Optional[Dict[str, Any]]:
    """The deepest line of the user's own code that the message itself names: TensorFlow writes there where in a graph
    or in a Python function of a pipeline it happened, and raises elsewhere."""
    for match in reversed(list(FRAMES.finditer(text))):
        whole = _whole(match[1])
        at = written(whole or "", int(match[2]), match[3])
        if whole is not None and is_users(at.file):
            return at._asdict()
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
    at = innermost_user_place(traceback)
    if at is not None:
        return at._asdict()
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
