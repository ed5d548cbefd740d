"""Processes of `multiprocessing` that ended badly: a script may never look, and end with status 0 all the same.

The parent tells how each of them ended; the child itself tells the exception, which `multiprocessing` catches, prints
and turns into an exit status: no `sys.excepthook` sees it.

Private APIs, ran on Python 3.10 to 3.13: `multiprocessing.popen_fork.Popen.poll` and `_send_signal`, which the start
methods fork and spawn share (Lib/multiprocessing/popen_fork.py); `BaseProcess._bootstrap` runs the finalizers of
`multiprocessing.util` while that exception is on its way (Lib/multiprocessing/process.py).
"""

from __future__ import annotations

import functools
import os
import sys
from typing import Any

from ..hooks import errors
from ..hooks.marks import Marks
from ..hooks.runtime import guarded, on_import, send

HOOK = "child_processes"
_LIMIT = 50
"""Of processes that are told: a pool that starts a new one for each that dies would tell them for ever."""
_told = 0
_killed = Marks()
"""Processes that the script itself ended. See `hooks.marks`."""
BEFORE_THE_LINK_CLOSES = 10
"""Finalizers run from the highest priority down; the link's is 0."""


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


@guarded(HOOK)
def _tell_failure() -> None:
    """At the end of a child: the exception that it dies of."""
    cls, value, traceback = sys.exc_info()
    if cls is None or value is None or traceback is None or issubclass(cls, SystemExit):
        return
    # Not one that the parent was handling when it forked: this one came through the child's own start.
    if traceback.tb_frame.f_code is sys.modules["multiprocessing.process"].BaseProcess._bootstrap.__code__:
        errors.report(cls, value, traceback)


@on_import("multiprocessing.util")
def _util(module: Any) -> None:
    process = sys.modules["multiprocessing.process"]

    def in_child(_: Any = None) -> None:
        module.Finalize(None, _tell_failure, exitpriority=BEFORE_THE_LINK_CLOSES)

    module.register_after_fork(_tell_failure, in_child)  # despite its name, at the start of spawned children too
    if process.parent_process() is not None:
        in_child()  # a spawned child that imports TensorFlow only now
