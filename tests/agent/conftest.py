"""A recorder in place of the supervisor: starts a script as the supervisor does and collects what the agent sends."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from tfgpu_tui.core import events, validate

Event = dict[str, Any]
Answer = Callable[[Event], "dict[str, Any] | None"]

INJECT = Path(__file__).resolve().parents[2] / "tfgpu_tui" / "agent" / "inject"

AS_THE_SCRIPT = ["/bin/sh", "-c", 'export TFGPU_TUI_SCRIPT=$$; exec "$@"', "sh"]
"""Before a command: it runs as the script itself, which knows its own number."""


def other_pythons() -> list[str]:
    """TFGPU_TUI_TEST_PYTHONS: interpreters with another TensorFlow or Keras, on which the agent's tests run, too."""
    return [p for p in os.environ.get("TFGPU_TUI_TEST_PYTHONS", "").split(":") if p]


class HangUp(Exception):
    """Raised by an `answer`: the supervisor goes away."""


class Recorder:
    """A Unix socket that takes any number of agents, keeps their events in order of arrival, and can answer."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.events: list[Event] = []
        self.refused: list[Event] = []
        """What the supervisor would not take."""
        self._answer = answer
        self._folder = tempfile.mkdtemp(prefix="tfgpu-")
        self.path = os.path.join(self._folder, "s")
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(self.path)
        self._server.listen(64)
        self._server.setblocking(False)
        self._stop, self._stopped = os.pipe()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        buffers: dict[socket.socket, bytes] = {}
        with selectors.DefaultSelector() as selector:
            selector.register(self._server, selectors.EVENT_READ)
            selector.register(self._stop, selectors.EVENT_READ)
            stopping = False
            while True:
                ready = selector.select(0 if stopping else None)
                if stopping and not ready:
                    break
                for key, _ in ready:
                    if key.fileobj == self._stop:
                        # What the processes wrote before they ended still lies in the sockets: read on until dry.
                        stopping = True
                        selector.unregister(self._stop)
                    elif key.fileobj is self._server:
                        connection, _ = self._server.accept()
                        buffers[connection] = b""
                        selector.register(connection, selectors.EVENT_READ)
                    else:
                        assert isinstance(key.fileobj, socket.socket)
                        self._read(key.fileobj, buffers, selector)
        for connection in buffers:
            connection.close()

    def _read(
        self, connection: socket.socket, buffers: dict[socket.socket, bytes], selector: selectors.BaseSelector
    ) -> None:
        try:
            data = connection.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            selector.unregister(connection)
            connection.close()
            assert not buffers.pop(connection), "the agent left in the middle of a line"
            return
        *lines, buffers[connection] = (buffers[connection] + data).split(b"\n")
        for line in lines:
            event: Event = json.loads(line, parse_constant=_no_constants)
            self.events.append(event)
            known = events.from_dict({**event, "src": "agent"})
            if known is not None and validate.misfit(known) is not None:
                self.refused.append(event)
            try:
                reply = self._answer(event) if self._answer else None
            except HangUp:
                selector.unregister(connection)
                connection.close()
                del buffers[connection]
                return
            if reply is not None:
                connection.sendall(json.dumps(reply).encode() + b"\n")

    def close(self) -> None:
        """Read what is still there, then end."""
        os.close(self._stopped)
        self._thread.join()
        os.close(self._stop)
        self._server.close()
        shutil.rmtree(self._folder)
        assert self.refused == []


def _no_constants(text: str) -> float:
    raise AssertionError(f"{text} is not JSON")


def run_script(
    script: str | Path | Sequence[str],
    python: str = sys.executable,
    args: Sequence[str] = (),
    *,
    agent: bool = True,
    environment: Mapping[str, str | None] | None = None,
    answer: Answer | None = None,
    timeout_s: float = 240,
    cwd: str | Path | None = None,
) -> tuple[list[Event], subprocess.CompletedProcess[str]]:
    """Run a script under the agent, as the supervisor would; returns the agent's events and the finished process.

    `script` is a path, the source itself (dedented and written to `train.py` in a temporary folder), or the
    interpreter's own arguments (`["-m", "package"]`). `environment` adds variables, or removes those that are None.
    With `agent=False` the same, without the agent. `answer(event)` may return a command for the sender of the event.
    """
    folder = tempfile.mkdtemp(prefix="tfgpu-script-")
    if isinstance(script, str) and "\n" in script:
        path = Path(folder) / "train.py"
        path.write_text(textwrap.dedent(script))
        command = [str(path)]
    elif isinstance(script, (str, Path)):
        command = [str(script)]
    else:
        command = list(script)
    variables: dict[str, str] = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    for name in [n for n in variables if n.startswith("TFGPU_TUI_")]:
        del variables[name]
    for name, value in (environment or {}).items():
        if value is None:
            variables.pop(name, None)
        else:
            variables[name] = value
    recorder = Recorder(answer)
    if agent:
        callers = variables.get("PYTHONPATH")
        variables["PYTHONPATH"] = f"{INJECT}:{callers}" if callers else str(INJECT)
        variables["TFGPU_TUI_SOCKET"] = recorder.path
    process = subprocess.Popen(
        [*(AS_THE_SCRIPT if agent else ()), python, *command, *args],
        env=variables,
        cwd=cwd or folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="surrogateescape",
    )
    try:
        out, err = process.communicate(timeout=timeout_s)
    finally:
        if process.poll() is None:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()  # they hold the pipes
            process.kill()
            process.communicate()
        recorder.close()
        shutil.rmtree(folder)
    return recorder.events, subprocess.CompletedProcess([python, *command, *args], process.returncode, out, err)


def of_type(events: list[Event], kind: str, **fields: Any) -> list[Event]:
    """The events of one type whose fields have these values."""
    return [e for e in events if e["type"] == kind and all(e.get(k) == v for k, v in fields.items())]


def cases_of(events: list[Event]) -> dict[str, list[Event]]:
    """The events between the markers that a script sends (`send("case", name=…)`), in order."""
    cases: dict[str, list[Event]] = defaultdict(list)
    name = ""
    for event in events:
        if event["type"] == "case":
            name = event["name"]
        else:
            cases[name].append(event)
    return cases


def main_pid(events: list[Event]) -> int:
    """The script's own process, as its agent says it: when python starts, and again with TensorFlow."""
    (pid,) = {e["pid"] for e in of_type(events, "agent_connected", main=True)}
    return int(pid)


def keras_flavour(events: list[Event]) -> str:
    """keras3 | keras2 | tf_keras: what the script used, as the agent told it."""
    told = [e["keras_flavour"] for e in of_type(events, "environment") if e.get("keras_flavour")]
    return str(told[-1])
