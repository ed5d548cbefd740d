"""The verb `exporter`: live runs as Prometheus metrics, over HTTP, a Unix socket, or in a file for a collector."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import socket
import socketserver
import stat
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple
from wsgiref import simple_server

from tfgpu_tui.cli import reading
from tfgpu_tui.cli.refusals import UsageError
from tfgpu_tui.core.state import RunState
from tfgpu_tui.report import prometheus
from tfgpu_tui.runs import history, listing, rundir
from tfgpu_tui.runs.journal import JournalReader
from tfgpu_tui.runs.rundir import RunDir

DEFAULT = "127.0.0.1:9455"
KEEP_S = 900.0
"""So long after its end a run is still told: for the scrape that alerts on it."""
FILE_EVERY_S = 15.0
END_EVERY_S = 0.5
"""Period of looking whether the one run has ended."""


class Target(NamedTuple):
    """Where metrics go: one of the three is not None."""

    address: tuple[str, int] | None = None
    socket: str | None = None
    file: str | None = None

    def __str__(self) -> str:
        if self.address is None:
            return self.file or f"unix:{self.socket}"
        host, port = self.address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def target(text: str) -> Target:
    """`HOST:PORT`, `[::1]:PORT`, `unix:PATH` or `FILE.prom`. Raises UsageError."""
    if text.startswith("unix:") and len(text) > 5:
        return Target(socket=os.path.abspath(text[5:]))
    if text.endswith(".prom"):
        return Target(file=os.path.abspath(text))
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^:/\s]+)):(\d{1,5})", text, re.ASCII)
    if found is None or int(found[3]) > 65535:
        raise UsageError(f"--metrics {text!r:.80}: give HOST:PORT, unix:PATH, or a file that ends in .prom")
    return Target(address=(found[1] or found[2], int(found[3])))


class Runs:
    """The runs that are told, each read on from where it stood."""

    def __init__(self, only: RunDir | None) -> None:
        self._only = only
        self._read: dict[Path, tuple[RunState, JournalReader]] = {}
        self._lock = threading.Lock()

    def collect(self) -> Iterator[Any]:
        """A collector of prometheus_client: called at each scrape."""
        with self._lock:
            return iter(prometheus.families(self._states()))

    def describe(self) -> list[Any]:
        """Nothing is collected when the collector is registered."""
        return []

    def over(self) -> bool:
        """Whether the one run has ended."""
        with self._lock:
            return any(state.ended is not None for state in self._states())

    def _states(self) -> list[RunState]:
        """One for each run, in the order of their ids, at its newest event."""
        there = {run.path: run for run in self._runs()}
        for path in self._read.keys() - there.keys():
            self._read.pop(path)[1].close()
        for path, run in there.items():
            if path not in self._read:
                self._read[path] = history.latest(run.journal)
            state, reader = self._read[path]
            with contextlib.suppress(rundir.RunNotFound):  # deleted meanwhile
                reading.go_on(state, reader)
        return [self._read[path][0] for path in sorted(there)]

    def _runs(self) -> list[RunDir]:
        """The one, or those that run, or did so a short time ago."""
        if self._only is not None:
            return [self._only]
        now = time.time()
        return [
            RunDir(found.path)
            for found in listing.list_runs()
            if found.ours and (found.state == "running" or (found.ended is not None and now - found.ended < KEEP_S))
        ]


def exporter(options: argparse.Namespace) -> int:
    """Tells until it is ended by a signal; for one run, until that has ended. Raises UsageError."""
    told = DEFAULT if options.metrics is None else options.metrics
    where = target(told)
    run = rundir.find(options.run) if options.run else None
    try:
        registry = prometheus.library().CollectorRegistry()
    except prometheus.PrometheusMissing as error:
        raise UsageError(f"exporter: {error}") from error
    runs = Runs(run)
    registry.register(runs)
    ended = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        ended.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, end)
    try:
        with _file(where.file, registry, ended) if where.file else _server(where, registry):
            while not ended.wait(END_EVERY_S):
                if run is not None and runs.over():
                    break
    except OSError as error:
        raise UsageError(f"--metrics {told}: {error.strerror or error}") from error
    return 0


@contextlib.contextmanager
def _file(path: str, registry: Any, ended: threading.Event) -> Iterator[None]:
    """Writes the file anew every few seconds, by renames; it is gone afterwards: a collector would tell it for ever."""
    write = prometheus.library().write_to_textfile
    write(path, registry)
    stopped = threading.Event()

    def go_on() -> None:
        while not stopped.wait(FILE_EVERY_S):
            with contextlib.suppress(OSError):  # a full disk: the next one may find room
                write(path, registry)

    writer = threading.Thread(target=go_on, daemon=True)
    writer.start()
    try:
        yield
    finally:
        stopped.set()
        writer.join()
        with contextlib.suppress(OSError):
            os.unlink(path)


@contextlib.contextmanager
def _server(where: Target, registry: Any) -> Iterator[None]:
    """Answers over HTTP at the address, or on the socket, which is gone afterwards."""
    application = prometheus.library().make_wsgi_app(registry)
    server = _Server(where)
    server.set_app(application)
    print(f"tfgpu-tui: metrics at {server.words}", file=sys.stderr, flush=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        if where.socket is not None:
            with contextlib.suppress(OSError):
                os.unlink(where.socket)


class _Handler(simple_server.WSGIRequestHandler):
    """Says nothing of its requests, and gives up on a peer that says nothing."""

    timeout = 10

    def log_message(self, *args: Any) -> None:
        pass

    def address_string(self) -> str:
        return "a local socket" if isinstance(self.client_address, str) else super().address_string()

    def get_environ(self) -> dict[str, Any]:
        if not self.client_address:  # of a Unix socket
            self.client_address = ("local", 0)
        return super().get_environ()


class _Server(socketserver.ThreadingMixIn, simple_server.WSGIServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, where: Target) -> None:
        self.words = f"unix:{where.socket}"
        if where.socket is not None:
            self.address_family = socket.AF_UNIX
            _clear(where.socket)
            super().__init__(where.socket, _Handler)  # type: ignore[arg-type]
            return
        assert where.address is not None
        self.address_family = socket.AF_INET6 if ":" in where.address[0] else socket.AF_INET
        super().__init__(where.address, _Handler)
        at = Target(address=(where.address[0], int(self.server_address[1])))
        self.words = f"http://{at}/metrics"

    def server_bind(self) -> None:
        """As HTTPServer's, without asking a name server for our own name."""
        socketserver.TCPServer.server_bind(self)
        if self.address_family == socket.AF_UNIX:
            os.chmod(str(self.server_address), 0o600)
            self.server_name, self.server_port = "localhost", 0
        else:
            self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()


def _clear(path: str) -> None:
    """Removes a socket that nobody answers on any more. Raises OSError where something else has that name."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError("this is there, and no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        if other.connect_ex(path) == 0:
            raise OSError("another program answers on this socket")
    os.unlink(path)
