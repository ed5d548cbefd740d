"""Processes of `multiprocessing` that ended badly: a script may never look, and end with status 0 all the same.

Private APIs, ran on Python 3.10 to 3.13: `multiprocessing.popen_fork.Popen.poll` and `_send_signal`, which the start
methods fork and spawn share (Lib/multiprocessing/popen_fork.py).
"""

from __future__ import annotations

import functools
import os
from typing import Any

from ..hooks.marks import Marks
from ..hooks.runtime import guarded, on_import, send

HOOK = "child_processes"
_LIMIT = 50
"""Of processes that are told: a pool that starts a new one for each that dies would tell them for ever."""
_told = 0
_killed = Marks()
"""Processes that the script itself ended. See `hooks.marks`."""


@on_import("multiprocessing.popen_fork")
def _popen(module: Any) -> None:
    cls: Any = module.Popen
    original_poll, original_send = cls.poll, cls._send_signal

    @functools.wraps(original_poll)
    def poll(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = self.returncode
        code = original_poll(self, *args, **kwargs)
        if before is None and code:
            _ended(self, code)
        return code

    @functools.wraps(original_send)
    def send_signal(self: Any, *args: Any, **kwargs: Any) -> Any:
        _killed.put(self, True)  # terminate() and kill(): the script's own wish
        return original_send(self, *args, **kwargs)

    cls.poll, cls._send_signal = poll, send_signal


@guarded(HOOK)
def _ended(process: Any, code: int) -> None:
    global _told
    if _killed.get(process) or _told >= _LIMIT:
        return
    _told += 1
    status = {"signal": -code} if code < 0 else {"exit_code": code}
    send("child_ended", child=process.pid, parent=os.getpid(), **status)
