"""Runs of other hosts, over the system's own ssh: their list now and then, and the journal of each that runs.

Keys, jump hosts and names are ssh's business (~/.ssh/config); it is never let ask anything (BatchMode). A link that
breaks is taken up again where it stood, a little later each time.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from tfgpu_tui.core import fleet
from tfgpu_tui.core.fleet import Row
from tfgpu_tui.fleet.follow import Followed
from tfgpu_tui.runs.journal import LONGEST_LINE

SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5", "-o",
       "ServerAliveCountMax=3")  # fmt: skip
TOOL = "tfgpu-tui"
HOST = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]*@)?[A-Za-z0-9_\[][A-Za-z0-9._:\]-]*")
"""What is handed to ssh as a host: no option, and nothing that a shell minds."""
RUN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,200}")
LIST_EVERY_S, FIRST_ANSWER_S = 15.0, 10.0
FIRST_RETRY_S, LAST_RETRY_S = 1.0, 30.0
_READ_BYTES = 1 << 18
_LARGEST_LIST = 16 << 20
_LARGEST_LINE = 64 << 20
"""Of a state, which is one line."""


def command(host: str, *words: str, terminal: bool = False) -> list[str]:
    """What runs `tfgpu-tui WORDS` on a host; each word is quoted for the shell there. Raises ValueError for a name that
    is none."""
    if HOST.fullmatch(host) is None:
        raise ValueError(f"{host!r:.100} is no name of a host")
    options = ("-t",) if terminal else ("-T",)
    return [*SSH, *options, "--", host, " ".join(map(shlex.quote, (TOOL, *words)))]


class Link:
    """A command on a host whose lines are read as they come; it is started again when it ends."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._process: subprocess.Popen[bytes] | None = None
        self._tail = b""
        self._retry_s, self._retry_at = FIRST_RETRY_S, 0.0
        self.why = ""
        """Why there is no link, in ssh's own words."""

    @property
    def up(self) -> bool:
        return self._process is not None

    def start(self, now: float, *words: str) -> None:
        """Starts it where it does not run, and its time has come."""
        if self._process is not None or now < self._retry_at:
            return
        self._tail = b""
        try:
            self._process = subprocess.Popen(
                command(self._host, *words),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            self.why = f"ssh can't be started: {error.strerror}"
            self._wait(now)
            return
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)

    def lines(self, now: float) -> list[bytes]:
        """What came; after an end of the command `up` is False."""
        process = self._process
        if process is None:
            return []
        assert process.stdout is not None
        try:
            data = os.read(process.stdout.fileno(), _READ_BYTES)
        except BlockingIOError:
            return []
        if not data:
            self._ended(now)
            return []
        self.why, self._retry_s = "", FIRST_RETRY_S
        *whole, self._tail = (self._tail + data).split(b"\n")
        if len(self._tail) > _LARGEST_LINE:
            self._tail = b""
        return [line for line in whole if line]

    def _ended(self, now: float) -> None:
        process = self._process
        assert process is not None and process.stderr is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1)
        with contextlib.suppress(OSError):
            said = os.read(process.stderr.fileno(), 65536).decode("utf-8", "replace").strip().splitlines()
            self.why = said[-1] if said and process.returncode else ""  # a warning is none where it went well
        self.close()
        self._wait(now)

    def _wait(self, now: float) -> None:
        self._retry_at, self._retry_s = now + self._retry_s, min(LAST_RETRY_S, 2 * self._retry_s)

    def close(self) -> None:
        """Ends the command: ssh by its signal, and what it runs there by the closed link."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


@dataclass
class Place:
    """Up to where a journal is known: its part, and lines of that."""

    part: int = 0
    line: int = 0

    def __str__(self) -> str:
        return f"{self.part}:{self.line}"


class RemoteRun:
    """One run that is followed on a host."""

    def __init__(self, host: str, run: str) -> None:
        self._host, self.run = host, run
        self._followed, self._place, self._link = Followed(), Place(), Link(host)
        self._heard_at: float | None = None
        self._begun: float | None = None
        self.state = "running"
        """As the host's own list has it."""

    def read(self, now: float) -> None:
        """Takes in what came."""
        self._begun = now if self._begun is None else self._begun
        self._heard_at = self._begun if self._heard_at is None else self._heard_at
        if self._followed.state.ended is None and self.state == "running":
            self._link.start(now, "journal", self.run, "--follow", "--from", str(self._place))
        lines = self._link.lines(now)
        ours: list[bytes] = []
        for line in lines:
            if line.startswith(b'{"at":'):
                self._followed.take(ours)
                ours = []
                self._go_to(line)
            elif len(line) <= LONGEST_LINE:
                ours.append(line)
                self._place.line += 1
        self._followed.take(ours)
        self._heard_at = now if ours else self._heard_at

    def _go_to(self, line: bytes) -> None:
        with contextlib.suppress(ValueError, TypeError, KeyError):
            told = json.loads(line)
            part, at = told["at"]
            if "state" in told:
                self._followed.begin_at(told["state"])
            elif (int(part), int(at)) != (self._place.part, self._place.line) and at == 0 and part < self._place.part:
                self._followed = Followed()  # the journal was begun anew
            self._place = Place(int(part), int(at))

    def is_awaited(self, now: float) -> bool:
        """Whether its first events are on their way."""
        none_yet = self._followed.state.run is None and self.state == "running"
        return none_yet and self._begun is not None and now - self._begun < FIRST_ANSWER_S

    def row(self, now: float) -> Row:
        quiet_s = now - self._heard_at if self._heard_at is not None else 0.0
        life = self.state if self.state != "running" or quiet_s < fleet.SILENT_S else "unknown"
        found = fleet.row(self._followed.state, key=f"{self._host}:{self.run}", life=life, quiet_s=quiet_s,
                          host=self._host)  # fmt: skip
        return replace(found, run=self.run) if self._followed.state.run is None else found

    def close(self) -> None:
        self._link.close()


class Host:
    """All live runs of one host."""

    def __init__(self, host: str) -> None:
        if HOST.fullmatch(host) is None:
            raise ValueError(f"{host!r:.100} is no name of a host")
        self._host = host
        self._runs: dict[str, RemoteRun] = {}
        self._list, self._listing = Link(host), b""
        self._listed_at: float | None = None
        self._begun: float | None = None

    def read(self, now: float, deadline: float) -> bool:
        """Takes in what came; True while a first answer is waited for, for some seconds."""
        self._begun = now if self._begun is None else self._begun
        if self._list.up or self._listed_at is None or now - self._listed_at >= LIST_EVERY_S:
            self._read_list(now)
        for run in self._runs.values():
            run.read(now)
        if self._listed_at is None:
            return not self._list.why and now - self._begun < FIRST_ANSWER_S
        return any(run.is_awaited(now) for run in self._runs.values())

    def _read_list(self, now: float) -> None:
        if not self._list.up:
            self._listing = b""
            self._list.start(now, "runs", "--json")
        while lines := self._list.lines(now):
            self._listing += b"\n".join(lines)
            if len(self._listing) > _LARGEST_LIST:
                self._listing = b""
        if self._list.up or not self._listing:
            return
        with contextlib.suppress(ValueError, TypeError, AttributeError):
            self._take(json.loads(self._listing))
            self._listed_at = now
        self._listing = b""

    def _take(self, listed: list[dict[str, Any]]) -> None:
        for run in listed:
            name, state = str(run.get("id")), str(run.get("state"))
            if RUN.fullmatch(name) is None or run.get("ours") is not True:
                continue
            if name in self._runs:
                self._runs[name].state = state
            elif state == "running":  # what that host only sees from elsewhere is told where it runs
                self._runs[name] = RemoteRun(self._host, name)

    def rows(self, now: float) -> Iterator[Row]:
        """One for each."""
        for run in self._runs.values():
            yield run.row(now)

    def notes(self) -> list[str]:
        """Why the host is not read, where that is so."""
        if self._listed_at is not None and not self._list.why:
            return []
        return [f"{self._host}: {self._list.why or 'no answer yet'}"]

    def close(self) -> None:
        self._list.close()
        for run in self._runs.values():
            run.close()
