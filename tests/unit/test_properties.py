"""Whatever the bytes are: journal, checkpoint, terminal and socket parsing neither raise nor lose what is good."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfgpu_tui.core import checkpoint, events
from tfgpu_tui.core.events import Event, Phase
from tfgpu_tui.core.measures import csv_text
from tfgpu_tui.core.state import RunState
from tfgpu_tui.core.validate import misfit, read
from tfgpu_tui.report import compare, report_json
from tfgpu_tui.report.html_page import html
from tfgpu_tui.runs.journal import JournalReader
from tfgpu_tui.supervisor.server import FROM_AGENTS, Server
from tfgpu_tui.terminal.lines import TerminalLines, char_width, printable, printable_lines

# How long an example takes says something of the machine, not of the parser.
settings.register_profile(
    "no timings", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile("no timings")

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
FIELDS = sorted({field for kind in FROM_AGENTS for field in events.FIELDS[kind]} - {"t", "pid"})
OBJECTS = st.fixed_dictionaries(
    {"type": st.sampled_from(sorted(FROM_AGENTS)) | st.text(max_size=8), "t": st.floats() | st.integers() | st.text()},
    optional={"pid": st.integers() | st.none()} | dict.fromkeys(FIELDS, VALUES),
)
"""Like what an agent sends, with anything in it."""
CONTROL = st.sampled_from(
    [b"\x1b[", b"\x1b]", b"\x1bP", b"\x1b\\", b"\x9b", b"\r", b"\n", b"\b", b"\t", b"\x07", b"1;31m", b"2K", b"A",
     b"999999999C", b"\xff", b"\xe6\x97", b"\xa5", b"x", "e\u0301".encode(), "\u202e".encode()]
)  # fmt: skip
NEXT = b'{"v":1,"t":1.0,"src":"agent","pid":1,"type":"phase","phase":"the next one"}\n'
OUTPUT = st.lists(CONTROL | st.binary(max_size=12), max_size=40).map(b"".join)


@given(st.binary(max_size=200) | OBJECTS.map(lambda data: json.dumps(data).encode()))
def test_a_journal_line_is_an_event_or_nothing(line: bytes) -> None:
    event = events.decode(line)
    assert event is None or isinstance(event, Event)


@given(st.lists(st.integers(0, 10**6), max_size=30), st.lists(st.integers(1, 60), min_size=1, max_size=20), st.binary())
def test_a_reader_gets_every_whole_line_however_they_arrive(numbers: list[int], sizes: list[int], torn: bytes) -> None:
    lines = [events.encode(Phase(t=float(number), phase="x")).encode() + b"\n" for number in numbers]
    data = b"".join(lines) + torn.replace(b"\n", b"")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        seen: list[float] = []
        with path.open("wb", buffering=0) as file, JournalReader(path) as reader:
            at = 0
            for size in [*sizes, len(data)]:
                file.write(data[at : at + size])
                at += size
                seen += [event.t for event in reader.poll()]
    assert seen == [float(number) for number in numbers]


@given(st.binary(max_size=300) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_a_checkpoint_is_a_state_or_refused(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(checkpoint.load(data), RunState)


@given(OUTPUT, st.lists(st.integers(0, 200), max_size=6))
def test_output_reads_the_same_however_it_is_cut(data: bytes, cuts: list[int]) -> None:
    whole, cut = TerminalLines(), TerminalLines()
    whole.feed(data)
    at = 0
    for end in [*sorted(cuts), len(data)]:
        cut.feed(data[at:end])
        at = max(at, end)
    assert cut.text() == whole.text()


@given(OUTPUT)
def test_nothing_of_the_output_steers_the_reader(data: bytes) -> None:
    terminal = TerminalLines()
    terminal.feed(data)
    assert all(char_width(c) >= 0 for c in terminal.text() if c != "\n")


@given(st.text() | OUTPUT.map(lambda data: data.decode("utf-8", "surrogateescape")))
def test_printable_text_has_nothing_but_characters(text: str) -> None:
    assert all(char_width(c) >= 0 for c in printable(text))
    printable_lines(text).encode()
    assert "\x1b" not in printable_lines(text)


@given(st.lists(OBJECTS.map(lambda data: json.dumps(data).encode()) | st.binary(max_size=100), max_size=8))
@settings(max_examples=60)
def test_whatever_a_peer_sends_the_next_one_is_heard(lines: list[bytes]) -> None:
    """Over a real socket; what is taken in can be folded, written and read back."""

    async def talk() -> list[Event]:
        taken: list[Event] = []
        state = RunState()

        def take(event: Event) -> bool:
            with contextlib.suppress(Exception):  # as the recorder: what the reducer can't digest is not taken
                state.apply(event)
                events.encode(event)
                taken.append(event)
            return True

        def command(request: dict[str, Any]) -> None:
            raise ValueError("no such command")

        server = Server(take, command, lambda why: None)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "s")
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(path)
                listener.listen()
                await server.serve(listener)
                for data in (b"\n".join(lines) + b"\n", NEXT):
                    reader, writer = await asyncio.open_unix_connection(path)
                    with contextlib.suppress(ConnectionError):
                        writer.write(data)
                        writer.write_eof()
                        await asyncio.wait_for(reader.read(), 10)
                    writer.close()
                await server.close()
        return taken

    taken = asyncio.run(talk())
    assert isinstance(taken[-1], Phase) and taken[-1].phase == "the next one"
    assert all(events.decode(events.encode(event)) is not None for event in taken)


RECORDINGS = sorted((Path(__file__).parents[2] / "demo" / "recordings").glob("*.jsonl"))
LINES = [line for path in RECORDINGS for line in path.read_bytes().splitlines()[:150]]
OTHER_VALUES = VALUES | st.sampled_from([1e308, 1e29, -1, 2**70, 10**400, "\ud800", "9" * 400])


@st.composite
def journals(draw: st.DrawFn) -> list[bytes]:
    """A real run's start and some of its lines, with values in them exchanged for any others."""
    lines = [LINES[0]]
    for line in draw(st.lists(st.sampled_from(LINES), min_size=1, max_size=12)):
        data = json.loads(line)
        for key in draw(st.lists(st.sampled_from(sorted(data)), max_size=2)):
            inside = data[key]
            if isinstance(inside, list) and inside and isinstance(inside[0], dict) and inside[0]:
                inside[0][draw(st.sampled_from(sorted(inside[0])))] = draw(OTHER_VALUES)
            else:
                data[key] = draw(OTHER_VALUES)
        lines.append(json.dumps(data).encode())
    return lines


@given(journals())
@settings(max_examples=40)
def test_whatever_a_journal_holds_a_report_is_made_of_it(lines: list[bytes]) -> None:
    state = RunState()
    taken = [event for line in lines if (event := read(line)) is not None and state.take(event)]
    built = report_json.build(state, "unknown", len(lines) - len(taken))
    json.dumps(built, allow_nan=False)
    (report_json.text(built) + html(state, built) + csv_text(state) + compare.text(state, state)).encode()
    assert checkpoint.dump(checkpoint.load(checkpoint.dump(state))) == checkpoint.dump(state)


def test_what_real_runs_wrote_fits() -> None:
    assert [line for path in RECORDINGS for line in path.read_bytes().splitlines() if read(line) is None] == []


def test_what_real_agents_sent_fits() -> None:
    sent = [events.decode(line) for path in RECORDINGS for line in path.read_bytes().splitlines()]
    agents = [event for event in sent if event is not None and event.type in FROM_AGENTS]
    assert len({event.type for event in agents}) > 8
    assert [event for event in agents if misfit(event)] == []
