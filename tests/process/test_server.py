"""The run's socket against peers that are broken, hostile or many; over real sockets."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import stat
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.process.conftest import Workplace, of_type, wait_for_output, wait_for_state, wait_until
from tfgpu_tui.core.events import AgentConnected, Dropped, Event, Phase, RunEnded, RunStarted
from tfgpu_tui.runs import rundir
from tfgpu_tui.supervisor import launch
from tfgpu_tui.supervisor.listening import listen, peer_uid
from tfgpu_tui.supervisor.server import MAX_CONNECTIONS, MAX_LINE_BYTES, Server


@dataclass
class Rig:
    path: Path
    server: Server
    events: list[Event] = field(default_factory=list)
    commands: list[dict[str, Any]] = field(default_factory=list)
    refused: int = 0

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(str(self.path))

    async def send(self, data: bytes) -> bytes:
        """Sends, and reads until the server closes or falls silent."""
        reader, writer = await self.connect()
        try:
            writer.write(data)
            await writer.drain()
            return await asyncio.wait_for(reader.read(4096), 0.5)
        except (asyncio.TimeoutError, ConnectionError):
            return b"(silence)"
        finally:
            writer.close()


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    path = rundir.socket_path()

    def on_event(event: Event) -> bool:
        made.events.append(event)
        return True

    def on_command(command: dict[str, Any]) -> None:
        made.commands.append(command)
        if command["cmd"] != "stop":
            raise ValueError("no such command")

    def on_refused(why: str) -> None:
        assert why
        made.refused += 1

    made = Rig(path, Server(on_event, on_command, on_refused))
    listener = listen(path)
    await made.server.serve(listener)
    yield made
    await made.server.close()
    listener.close()
    rundir.remove_socket(path)


def line(kind: str, **more: Any) -> bytes:
    return json.dumps({"v": 1, "t": time.time(), "src": "agent", "pid": 1, "type": kind, **more}).encode() + b"\n"


async def until(condition: Any, deadline_s: float = 60.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.01)


async def test_modes_and_peer(rig: Rig) -> None:
    status = rig.path.stat()
    assert stat.S_ISSOCK(status.st_mode) and status.st_mode & 0o777 == 0o600
    assert rig.path.parent.stat().st_mode & 0o777 == 0o700
    assert len(os.fsencode(rig.path)) <= rundir.MAX_SOCKET_PATH_BYTES
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert peer_uid(ours) == os.getuid()


@pytest.mark.parametrize(
    "data",
    [b"\xff\xfe\x00garbage\n", b"[1, 2]\n", b"null\n", b"GET / HTTP/1.1\r\n\r\n", b"[" * 100_000 + b"\n", b"\n"],
)
async def test_garbage_costs_its_own_connection(rig: Rig, data: bytes) -> None:
    other = await rig.connect()
    assert await rig.send(data) == b""
    assert rig.refused == 1
    other[1].write(line("phase", phase="training"))
    await until(lambda: rig.events)
    other[1].close()


async def test_a_line_without_end_is_cut_off(rig: Rig) -> None:
    assert await rig.send(b"x" * (MAX_LINE_BYTES + 100_000)) in (b"", b"(silence)")
    await until(lambda: rig.refused == 1)


async def test_a_long_line_within_the_limit_is_taken(rig: Rig) -> None:
    await rig.send(line("phase", phase="y" * (MAX_LINE_BYTES - 1000)))
    assert len(rig.events) == 1


async def test_foreign_types_are_refused_and_the_connection_goes_on(rig: Rig) -> None:
    _, writer = await rig.connect()
    for kind in ("run_ended", "host_sample", "gpu_sample", "run_started", "stopping", "log", "no_such_type"):
        writer.write(line(kind, id="x", argv=[], cwd="", python="", size_bytes=1, stage="kill"))
    writer.write(json.dumps({"type": "phase", "phase": "no time, no pid"}).encode() + b"\n")
    writer.write(line("phase", phase="training"))
    await until(lambda: rig.events)
    assert rig.refused == 8
    (event,) = rig.events
    assert isinstance(event, Phase) and event.src == "agent"
    writer.close()


@pytest.mark.parametrize("kind", [[], {}, None, 7, True])
async def test_a_type_that_is_no_word_is_refused_and_nothing_is_printed(
    rig: Rig, kind: object, capfd: pytest.CaptureFixture[str]
) -> None:
    _, writer = await rig.connect()
    writer.write(json.dumps({"type": kind, "t": 1.0, "pid": 1}).encode() + b"\n" + line("phase", phase="the next"))
    await until(lambda: rig.events)
    assert rig.refused == 1
    writer.close()
    assert capfd.readouterr().err == ""


async def test_a_failing_handler_costs_its_own_connection_and_prints_nothing(
    rig: Rig, capfd: pytest.CaptureFixture[str]
) -> None:
    def failing(event: Event) -> bool:
        raise RuntimeError("a mistake of ours")

    def failing_command(command: dict[str, Any]) -> None:
        raise TypeError("of a kind that nobody thought of")

    taking, rig.server._on_event = rig.server._on_event, failing
    assert await rig.send(line("phase", phase="x")) == b"" and rig.refused == 1
    rig.server._on_event, rig.server._on_command = taking, failing_command
    assert json.loads(await rig.send(b'{"cmd":["stop"]}\n'))["ok"] is False and rig.refused == 2
    await rig.send(line("phase", phase="after"))
    assert len(rig.events) == 1 and capfd.readouterr().err == ""


async def test_a_name_beside_the_socket_is_not_touched(tmp_path: Path) -> None:
    """Once a socket was made under a name that anybody could foresee, after what stood there had been deleted."""
    path = tmp_path / "a.sock"
    (tmp_path / "a.new").write_text("precious")
    listener = listen(path)
    listener.close()
    assert (tmp_path / "a.new").read_text() == "precious"
    assert sorted(os.listdir(tmp_path)) == ["a.new", "a.sock"]


async def test_viewers_get_an_answer(rig: Rig) -> None:
    assert json.loads(await rig.send(b'{"cmd":"stop","stage":"batch"}\n')) == {"ok": True}
    assert json.loads(await rig.send(b'{"cmd":"dance"}\n')) == {"ok": False, "error": "no such command"}
    assert [command["cmd"] for command in rig.commands] == ["stop", "dance"]


async def test_commands_reach_the_main_agent_only(rig: Rig) -> None:
    main, child = await rig.connect(), await rig.connect()
    main[1].write(line("agent_connected", main=True))
    child[1].write(line("agent_connected", main=False))
    await until(lambda: len(rig.events) == 2)
    assert rig.server.command_agents({"cmd": "stop_training"})
    assert json.loads(await main[0].readline()) == {"cmd": "stop_training"}
    main[1].close()
    await until(lambda: not rig.server.main_agent_connected)
    assert not rig.server.command_agents({"cmd": "stop_training"})
    child[1].close()
    assert await child[0].read() == b"", "nothing was sent to a child's agent"


async def test_many_connections(rig: Rig) -> None:
    peers = [await rig.connect() for _ in range(300)]
    for _, writer in peers:
        writer.write(line("agent_connected", main=False) * 3)
    await until(lambda: len(rig.events) == 900)
    more = [await rig.connect() for _ in range(MAX_CONNECTIONS - 300 + 20)]
    await until(lambda: rig.refused == 20)
    for _, writer in peers + more:
        writer.close()
    await until(lambda: rig.server.idle)
    assert (await rig.send(line("phase", phase="after"))) == b"(silence)"
    assert isinstance(rig.events[-1], Phase)


async def test_a_peer_that_trickles_its_bytes_holds_up_nobody(rig: Rig) -> None:
    """Before each byte of the slow peer another agent's event arrives whole; the slow line is taken at its end."""
    slow, other = await rig.connect(), await rig.connect()
    said = line("phase", phase="slow")
    for count, byte in enumerate(said, 1):
        slow[1].write(bytes([byte]))
        await slow[1].drain()
        other[1].write(line("phase", phase=f"other {count}"))
        await until(lambda: len(rig.events) >= count)  # noqa: B023
        if count < len(said):
            last = rig.events[-1]
            assert isinstance(last, Phase) and last.phase == f"other {count}"
    await until(lambda: len(rig.events) == len(said) + 1)
    assert [event.phase for event in rig.events if isinstance(event, Phase)].count("slow") == 1
    assert rig.refused == 0
    for _, writer in (slow, other):
        writer.close()


async def test_connections_that_come_and_go_leave_nothing(rig: Rig) -> None:
    """2000 in sequence: silent, in the middle of a line, with an event, with garbage. One agent stays all the while."""
    _, steady = await rig.connect()
    steady.write(line("agent_connected", main=True))
    await until(lambda: rig.server.main_agent_connected)
    descriptors = len(os.listdir("/proc/self/fd"))
    kinds = (b"", b'{"v":1,"ty', line("phase", phase="brief"), b"garbage\n")
    for number in range(2000):
        _, writer = await rig.connect()
        writer.write(kinds[number % len(kinds)])
        writer.close()
        await writer.wait_closed()
    # What was cut off in the middle of a line is refused, as garbage is.
    await until(lambda: (len(rig.events), rig.refused) == (1 + 500, 1000))
    await until(lambda: len(os.listdir("/proc/self/fd")) == descriptors)
    assert rig.server.main_agent_connected and not rig.server.idle
    steady.write(line("phase", phase="still here"))
    await until(lambda: len(rig.events) == 502)
    steady.close()
    await until(lambda: rig.server.idle)


def test_a_run_survives_all_this(place: Workplace) -> None:
    """Whatever one process of the user sends, journal and reducer stay good, and what was dropped is counted."""
    run = place.start(place.script("print('ready', flush=True)\nimport time\ntime.sleep(60)"))
    wait_for_output(run, "ready")
    wait_until(lambda: of_type(run, AgentConnected), "the agent said hello")
    path = rundir.read_meta(run).socket
    nonsense = [
        line("steps", steps="many", wall_s=[1]),
        line("metrics", step=1, values={"loss": {"a": [1]}}),
        line("environment", tf_gpus=7),
        line("placement", layers=[1, None]),
        line("placement", layers=[{"layer": "a", "forward": [1]}]),
        line("pipeline", stages=[{"stage": "Map", "self_us": {"a": 1}}]),
        line("tf_memory", devices=[{"device": "GPU:0", "peak_bytes": "much"}]),
        line("epoch", state={}, epoch="one"),
        b'{"type":[]}\n',
        b'{"v":1,"t":1e999,"pid":1,"type":"phase","phase":"x"}\n',
        b'{"v":1,"t":NaN,"pid":1,"type":"phase","phase":"x"}\n',
        b"\x00\x01\x02\n",
    ]
    for data in nonsense:
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(path)
            peer.sendall(data)

    def dropped() -> int:
        return sum(event.count for event in of_type(run, Dropped)[-1:] if isinstance(event, Dropped))

    wait_until(lambda: dropped() == len(nonsense), "each drop was counted")
    assert "steps.steps is many" in run.supervisor_log.read_text()
    assert "Traceback" not in run.supervisor_log.read_text() + run.output_log.read_text()
    launch.stop(run, "kill")
    wait_for_state(run, "ended")
    assert of_type(run, RunStarted) and of_type(run, RunEnded)
    shown = place.tool("report", run.id, "--json")
    assert shown.returncode == 0, shown.stderr.decode()
    assert json.loads(shown.stdout)["run"]["signal"] == 9


def test_a_run_whose_socket_went_away_listens_anew(place: Workplace) -> None:
    """As when the last login ends and systemd removes the user's runtime folder."""
    run = place.start(place.script("print('ready', flush=True)\nimport time\ntime.sleep(60)"))
    wait_for_output(run, "ready")
    old = Path(rundir.read_meta(run).socket)
    shutil.rmtree(old.parent)
    wait_until(old.exists, "the run listens anew, at the same place")
    launch.stop(run, "kill")
    wait_for_state(run, "ended")
    assert not Path(rundir.read_meta(run).socket).exists()
