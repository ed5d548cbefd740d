"""The verb `fleet`: all live runs on one screen, as lines, or as JSON."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from tfgpu_tui.cli import streams
from tfgpu_tui.cli.refusals import UsageError
from tfgpu_tui.cli.settings import settings_of
from tfgpu_tui.fleet import remote
from tfgpu_tui.fleet.local import Folder
from tfgpu_tui.fleet.watch import Fleet, Picture, Source
from tfgpu_tui.report import fleet as text
from tfgpu_tui.runs import files, listing, rundir
from tfgpu_tui.runs.configuration import Settings

BUDGET_S = 0.2
FIRST_ANSWER_S = 15.0
"""So long --json and --plain wait for hosts that have not answered."""
PLAIN_EVERY_S = 5
MOST_BYTES = 1 << 20
"""Of a file of hosts."""


def fleet(options: argparse.Namespace) -> int:
    """Shows them until its reader leaves; --json once, --plain every few seconds until nothing runs."""
    settings = settings_of(options)
    watched = Fleet(_sources(options.hosts), options.job)
    try:
        if options.json:
            picture = _settled(watched)
            told = [(one.job, one.finding) for one in picture.told]
            print(json.dumps(text.as_json(picture.rows, told, picture.notes, picture.now), indent=1))
            return 0
        if settings.plain or settings.headless or not streams.screen_is_possible():
            return _plain(watched)
        return _screen(watched, settings)
    finally:
        watched.close()


def _sources(hosts: str | None) -> list[Source]:
    if hosts is None:
        return [Folder()]
    try:
        return [remote.Host(host) for host in _hosts(hosts)]
    except ValueError as error:
        raise UsageError(f"--hosts: {error}") from error


def _hosts(told: str) -> list[str]:
    """`HOST,HOST`, or a file with one in a line (`#` begins a comment). Raises UsageError."""
    names = told.split(",")
    if Path(told).is_file():
        try:
            lines = files.read_bounded(told, MOST_BYTES).decode("utf-8", "replace").splitlines()
        except OSError as error:
            raise UsageError(f"--hosts {told:.100}: {error.strerror}") from error
        names = [words[0] for line in lines if (words := line.partition("#")[0].split())]
    found = list(dict.fromkeys(name.strip() for name in names if name.strip()))
    if not found:
        raise UsageError(f"--hosts {told:.100}: there is no host in it")
    return found


def _settled(watched: Fleet) -> Picture:
    """The picture once all history is read, each host has answered, or did not for a while, and a silence lasted on."""
    until = time.monotonic() + FIRST_ANSWER_S
    while ((picture := watched.read(BUDGET_S)).behind or picture.unsure) and time.monotonic() < until:
        time.sleep(0.02 if picture.behind else 0.5)
    return picture


def _plain(watched: Fleet) -> int:
    picture = _settled(watched)
    while True:
        told = [(one.job, one.finding) for one in picture.told]
        if not picture.rows and not picture.notes:
            left = picture.jobless + picture.others
            words = text.nothing_words(picture.asked, picture.jobless, picture.others)
            print(words + ("; tfgpu-tui fleet shows all" if left else ": tfgpu-tui runs lists what did"))
            return 0
        for line in text.lines(picture.rows, told, picture.notes, picture.now):
            print(line)
        if not any(row.goes_on for row in picture.rows) or not sys.stdout.isatty():
            return 0
        print(flush=True)
        for _ in range(PLAIN_EVERY_S):
            time.sleep(1.0)
            picture = watched.read(BUDGET_S)


def _screen(watched: Fleet, settings: Settings) -> int:
    """The fleet, and each run that is opened from it, until its reader leaves the fleet."""
    encoding = sys.__stderr__.encoding if sys.__stderr__ is not None else "ascii"
    if encoding.lower().replace("-", "") != "utf8":
        settings = settings._replace(ascii=True)
    from tfgpu_tui.ui import app
    from tfgpu_tui.ui import fleet as screen
    from tfgpu_tui.ui.fleet_view import Look

    look, theme = Look(), app.choose_theme(settings.theme)
    while (row := screen.choose(watched, settings, look, theme)) is not None:
        if ":" in row.key:
            attach_there(*row.key.rsplit(":", 1))
        else:
            away = listing.away(rundir.find(row.run), "attach")
            say = f"Esc comes back to the fleet{f'; here it can only be watched: {away}' if away else ''}"
            app.run_screen(rundir.find(row.run), settings, say=say, nested=True)
    return 0


def attach_there(host: str, run: str) -> int:
    """The screen of a run on its own host, over ssh; its exit status. Raises UsageError."""
    if remote.RUN.fullmatch(run) is None:
        raise UsageError(f"{run!r:.100} is no run's id")
    try:
        return subprocess.call(remote.command(host, "attach", run, terminal=True))
    except ValueError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"ssh can't be started: {error.strerror}") from error


def is_there(text: str) -> bool:
    """Whether RUN is HOST:RUN: no run's id holds a colon, and a path holds a slash."""
    return ":" in text and "/" not in text and not Path(text).exists()
