"""The exception that ends a process, told with the place in the user's own code where it came from."""

from __future__ import annotations

import functools
import os
import re
import site
import sys
import sysconfig
from types import CodeType, FrameType, TracebackType
from typing import Any, Dict, Optional

from . import link, runtime

GENERATED = "__autograph_generated_file"
"""AutoGraph's rewriting of a function of the script (tensorflow/python/autograph/pyct/loader.py)."""
FRAMES = re.compile(r'^\s*File "([^"\n]+)", line (\d+), in (\S+)', re.MULTILINE)


def _library_folders() -> list[str]:
    paths = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    paths += [*site.getsitepackages(), site.getusersitepackages(), os.path.dirname(os.path.abspath(__file__))]
    return [os.path.join(os.path.realpath(p), "") for p in paths if p]


@functools.lru_cache(maxsize=4096)
def is_users(filename: str) -> bool:
    """Whether a file is the user's own: a real file that lies in no library folder of this interpreter."""
    if filename.startswith("<") or os.path.basename(filename).startswith(GENERATED):
        return False
    path = os.path.realpath(filename)
    # `site-packages` and `dist-packages` by name, too: of other interpreters, Debian's, PYTHONPATH's.
    parts = path.split(os.sep)
    if "site-packages" in parts or "dist-packages" in parts:
        return False
    return not any(path.startswith(folder) for folder in _library_folders())


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
    found = [match for match in FRAMES.finditer(text) if is_users(match[1]) and os.path.isfile(match[1])]
    if not found:
        return None
    file, line, function = found[-1].groups()
    return {"file": os.path.abspath(file), "line": int(line), "function": function}


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
