"""The line to the supervisor: a bounded queue, one connection, two daemon threads.

The training's threads only append to the queue. One thread empties it at most four times a second and reads commands;
the other one runs the periodic functions, so that a long one (an analysis) holds nothing up. When the supervisor is
gone, events wait in the queue, because another one may come; when none comes, the link gives up for good. It keeps
quiet in any case: the training must never notice.
"""

from __future__ import annotations

import json
import math
import os
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Optional

from .descriptors import Connection, Taken

PERIOD_S = 0.25
WORK_PERIOD_S = 0.1
QUEUE_LIMIT = 2000
"""Events; what comes on top is dropped and counted."""
RETRY_S = 1.0
PATIENCE_S = 900.0
"""So long after it lost its supervisor the link looks for another one."""
LAST_WORK_S = 10.0
"""So long the end of the process waits for the agent's thread to leave TensorFlow."""
UNSENT_LIMIT_BYTES = 1 << 20
"""Bytes encoded but not taken by the socket; above it, new events stay in the queue until that one is full, too."""

Event = dict[str, Any]


def stamped(kind: str, fields: dict[str, Any]) -> Event:
    """An event of this process, now."""
    return {"v": 1, "t": time.time(), "src": "agent", "pid": os.getpid(), "type": kind, **fields}


_script = os.environ.get("TFGPU_TUI_SCRIPT")


def is_main() -> bool:
    """Whether this process is the script itself: the one that was started for us, under this very number."""
    return _script == str(os.getpid())


def hello() -> Event:
    """The first line on a connection."""
    version = "%d.%d.%d" % sys.version_info[:3]
    return stamped("agent_connected", {"main": is_main(), "python": version})


def clean(value: Any) -> Any:
    """`value` as JSON can hold it: numbers that are not finite as `nan`, `inf`, `-inf`; NumPy scalars as numbers."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {str(k): clean(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [clean(v) for v in value]
    if hasattr(value, "item"):
        return clean(value.item())
    return str(value)


def encode(event: Event) -> bytes:
    """The event as one JSON line."""
    try:
        text = json.dumps(event, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError):
        text = json.dumps(clean(event), separators=(",", ":"), allow_nan=False)
    return text.encode() + b"\n"


class Link:
    """Created in every process that has something to say; connects when it first says it."""

    def __init__(self, path: str, on_command: Callable[[Event], None] = lambda command: None) -> None:
        self._path = path
        self._on_command = on_command
        self._periodic: list[tuple[float, Callable[[], None]]] = []
        self._last: list[Callable[[], None]] = []
        self._dead = False
        self.dropped = 0
        self._taken_told = False
        self._connection: Optional[Connection] = None
        self._forget()

    def _forget(self) -> None:
        """Start clean: no connection, nothing queued, fresh locks."""
        self._queue: OrderedDict[Any, Event] = OrderedDict()
        self._queue_lock = threading.Lock()
        self._io_lock = threading.Lock()
        self._work_lock = threading.Lock()
        self._wake = threading.Event()
        self._over = threading.Event()
        self._unsent = b""
        self._within_line = False
        self._received = b""
        self._lost_at: Optional[float] = None
        """When the connection broke; None while there is one, and before the first."""
        self._retry_at = 0.0
        self._reported_drops = self.dropped = 0
        self._serial = 0
        self._thread: Optional[threading.Thread] = None
        self._worker: Optional[threading.Thread] = None

    def after_fork(self) -> None:
        """In the child: the connection, the thread and what was queued are the parent's."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._forget()

    def every(self, seconds: float, function: Callable[[], None], last: bool = False) -> None:
        """Run `function` on the working thread about every so many seconds, and once more when the process ends where
        it is to have the `last` word. It must not raise."""
        self._periodic.append((seconds, function))
        if last:
            self._last.append(function)

    def put(self, event: Event, key: Any = None) -> None:
        """Queue an event. With a key, it replaces a queued one of the same key. Never blocks, never raises."""
        if self._dead:
            return
        with self._queue_lock:
            if key is None:
                self._serial += 1
                key = self._serial
            elif key in self._queue:
                del self._queue[key]
            if len(self._queue) >= QUEUE_LIMIT:
                self.dropped += 1
                return
            self._queue[key] = event
        if self._thread is None:
            self._start()

    def hurry(self) -> None:
        """Send soon, without waiting for it."""
        self._wake.set()

    def close(self) -> None:
        """The process ends: the last words of the periodic functions, and what is queued is sent.

        The one that runs is waited for: an interpreter that is gone ends the threads that come back to it, and one that
        comes back through TensorFlow's C++ takes the process along ("FATAL: exception not rethrown", SIGABRT).
        """
        first = not self._over.is_set()  # a spawned child of multiprocessing ends twice: its finalizers, then atexit
        self._over.set()
        if first and threading.current_thread() is not self._worker:
            try:
                if self._work_lock.acquire(timeout=LAST_WORK_S):  # for good
                    for function in self._last:
                        function()
            except KeyboardInterrupt:
                pass  # the process is ending, only faster now
        self.flush()

    def flush(self, timeout_s: float = 1.0) -> None:
        """Send what is queued, from this thread, for at most so long. For the end of the process."""
        deadline = time.monotonic() + timeout_s
        while not self._dead and (self._queue or self._unsent) and self._reachable():
            if not self._io_lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
                return
            try:
                self._send()
            finally:
                self._io_lock.release()
            if not (self._queue or self._unsent) or time.monotonic() > deadline:
                return
            time.sleep(0.01)

    def _reachable(self) -> bool:
        """False while there is nobody to send to: then the end of the process does not wait."""
        return self._connection is not None or self._lost_at is None

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="tfgpu-tui link", daemon=True)
        self._thread = thread
        try:
            thread.start()
            args = self._over, self._work_lock
            self._worker = threading.Thread(target=self._work, args=args, name="tfgpu-tui work", daemon=True)
            self._worker.start()
        except RuntimeError:
            return  # the interpreter is ending: the flush at exit sends
        # A multiprocessing child leaves through os._exit: atexit never runs there, its own finalizers do.
        process, util = sys.modules.get("multiprocessing.process"), sys.modules.get("multiprocessing.util")
        if process is not None and util is not None and process.parent_process() is not None:
            util.Finalize(None, self.close, exitpriority=0)

    def _run(self) -> None:
        while not self._dead:
            with self._io_lock:
                self._send()
                self._receive()
            self._wake.wait(PERIOD_S)
            self._wake.clear()

    def _work(self, over: threading.Event, lock: threading.Lock) -> None:
        due: list[float] = []
        while not self._dead and not over.wait(WORK_PERIOD_S):
            now = time.monotonic()
            due += [now + seconds for seconds, _ in self._periodic[len(due) :]]
            for index, (seconds, function) in enumerate(list(self._periodic)):
                if due[index] > now:
                    continue
                with lock:
                    if over.is_set():
                        return
                    function()
                due[index] = time.monotonic() + seconds

    def _connect(self) -> None:
        try:
            self._connection = Connection(self._path)
        except OSError:
            self._lose()
            return
        self._unsent = encode(hello()) + self._unsent
        self._lost_at = None

    def _lose(self) -> None:
        """The connection broke, or could not be made."""
        now = time.monotonic()
        self._lost_at = now if self._lost_at is None else self._lost_at
        self._retry_at = now + RETRY_S
        self._disconnect()
        if now - self._lost_at >= PATIENCE_S:
            self._dead = True
            self._unsent = b""
            self._queue.clear()

    def _failed(self, error: OSError) -> None:
        if not isinstance(error, Taken):
            self._lose()
            return
        self._disconnect()
        self._connect()  # the supervisor is there still
        if not self._taken_told:
            self._taken_told = True
            told = {"part": "agent", "message": "the script closed the agent's connection; another one was made"}
            self.put(stamped("fault", told))

    def _disconnect(self) -> None:
        """A line of which a part was sent is lost."""
        self._received = b""
        if self._within_line:
            self._unsent = self._unsent.partition(b"\n")[2]
            self._within_line = False
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _take(self) -> list[Event]:
        if len(self._unsent) > UNSENT_LIMIT_BYTES:
            return []
        with self._queue_lock:
            events = list(self._queue.values())
            self._queue.clear()
        if self.dropped > self._reported_drops:
            self._reported_drops = self.dropped
            events.append(stamped("dropped", {"count": self.dropped, "where": "agent"}))
        return events

    def _send(self) -> None:
        due = self._queue if self._lost_at is None else time.monotonic() >= self._retry_at
        if self._connection is None and not self._dead and due:
            self._connect()
        if self._connection is None:
            return
        self._unsent += b"".join(encode(event) for event in self._take())
        try:
            while self._unsent:
                sent = self._connection.send(self._unsent)
                self._within_line = self._unsent[sent - 1 : sent] != b"\n"
                self._unsent = self._unsent[sent:]
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._failed(error)

    def _receive(self) -> None:
        if self._connection is None:
            return
        try:
            data = self._connection.receive()
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._failed(error)
            return
        if not data:
            self._lose()
            return
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            try:
                command = json.loads(line)
            except ValueError:
                continue
            if isinstance(command, dict):
                self._on_command(command)
