"""The stacks of threads, without their frames: with a frame that is kept, what the script lets go of would live on.

A frame is seen by the function that is passed, which must not keep it either.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Dict, List, Optional, TypeVar

T = TypeVar("T")
MAX_FRAMES = 10_000


def of_others(see: Callable[[FrameType], T], most: int = MAX_FRAMES) -> Dict[int, List[T]]:
    """What `see` makes of each frame, innermost first, by thread; this thread's own would hold itself, and is left
    out. `most` frames of each."""
    frames = sys._current_frames()
    del frames[threading.get_ident()]
    return {thread: _seen(frames.pop(thread), see, most) for thread in list(frames)}


def of_main(see: Callable[[FrameType], T]) -> List[T]:
    """The same of the main thread."""
    return _seen(sys._current_frames().get(threading.main_thread().ident or 0), see, MAX_FRAMES)


def _seen(frame: Optional[FrameType], see: Callable[[FrameType], T], most: int) -> List[T]:
    found: List[T] = []
    while frame is not None and len(found) < most:
        found.append(see(frame))
        frame = frame.f_back
    return found
