"""Prometheus' page of real runs: over TCP, a Unix socket and a file; its ends, and what goes wrong."""

from __future__ import annotations

import contextlib
import http.client
import re
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.process.conftest import DEADLINE_S, Workplace, of_type, wait_for_state, wait_until
from tfgpu_tui.core.events import Fault
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.supervisor import launch

SCRIPT = """
import json, os, socket, sys, time
link = socket.socket(socket.AF_UNIX)
link.connect(os.environ["TFGPU_TUI_SOCKET"])

def send(kind, **fields):
    event = {"v": 1, "t": time.time(), "src": "agent", "pid": os.getpid(), "type": kind, **fields}
    link.sendall(json.dumps(event).encode() + b"\\n")

send("agent_connected", main=True, python="3")
send("steps", phase="train", steps=30, executions=30, wall_s=3.0, wait_s=1.0, compute_s=1.5, host_s=0.5,
     periods={"130": 30}, examples=960, batch_size=32, epoch=1, fit=1)
while not os.path.exists("end"):
    time.sleep(0.02)
"""


class _Unix(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(DEADLINE_S)
        self.sock.connect(self.host)


def over(where: str) -> str:
    """The page at an address, of a socket or in a file; "" where there is none."""
    if where.startswith("http"):
        with urllib.request.urlopen(where, timeout=DEADLINE_S) as answer:
            return str(answer.read().decode())
    if where.startswith("unix:"):
        connection = _Unix(where.removeprefix("unix:"))
        try:
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()
        except OSError:
            return ""
        finally:
            connection.close()
    path = Path(where)
    return path.read_text() if path.exists() else ""


def runs_in(page: str) -> dict[str, float]:
    """Run -> its training steps."""
    return {
        sample.labels["run"]: sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "tfgpu_tui_steps_total"
    }


@contextlib.contextmanager
def exporter(place: Workplace, *arguments: str) -> Iterator[str]:
    """An exporter that listens; where. It ends with status 0."""
    command = place.command("exporter", *arguments)
    with subprocess.Popen(command, env=place.env, cwd=place.folder, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        found = re.fullmatch(rb"tfgpu-tui: metrics at (.+)\n", process.stderr.readline())
        assert found
        try:
            yield found[1].decode()
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0


def started(place: Workplace, metrics: str | None = None) -> RunDir:
    command = place.command("--headless", *(["--metrics", metrics] if metrics else []), place.script(SCRIPT))
    subprocess.Popen(command, cwd=place.folder, env=place.env, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    wait_until(lambda: place.runs(), "the run has begun")
    return place.only_run()


def end(place: Workplace, run: RunDir) -> None:
    (place.folder / "end").touch()
    wait_for_state(run, "ended")


def test_all_live_runs_over_tcp(place: Workplace) -> None:
    with exporter(place, "--metrics", "127.0.0.1:0") as where:
        assert runs_in(over(where)) == {}
        run = started(place)
        wait_until(lambda: runs_in(over(where)) == {run.id: 30}, "the run is told")
        end(place, run)
        page = over(where)
        assert "tfgpu_tui_run_ended_timestamp_seconds{" in page and "tfgpu_tui_run_exit_status{" in page


def test_scrapes_during_a_runs_end_are_whole_pages(place: Workplace) -> None:
    with exporter(place, "--metrics", "127.0.0.1:0") as where:
        run = started(place)
        wait_until(lambda: runs_in(over(where)) == {run.id: 30}, "the run is told")
        (place.folder / "end").touch()

        def is_told_as_ended() -> bool:
            page = over(where)
            assert runs_in(page) == {run.id: 30} and page.endswith("\n"), "no scrape on the way lacks anything"
            return "tfgpu_tui_run_ended_timestamp_seconds{" in page

        wait_until(is_told_as_ended, "its end is told")
        wait_for_state(run, "ended")


def test_a_run_tells_its_own_on_a_socket(place: Workplace) -> None:
    where = f"unix:{place.folder}/m.sock"
    run = started(place, where)
    wait_until(lambda: runs_in(over(where)) == {run.id: 30}, "the run is told")
    assert (place.folder / "m.sock").stat().st_mode & 0o777 == 0o600
    end(place, run)
    assert not (place.folder / "m.sock").exists()
    assert of_type(run, Fault) == []


def test_a_file_is_there_as_long_as_its_run(place: Workplace) -> None:
    run = started(place, "out.prom")
    file = place.folder / "out.prom"
    wait_until(file.exists, "the file was written")
    list(text_string_to_metric_families(file.read_text()))
    end(place, run)
    assert not file.exists()


def test_a_port_in_use_is_said_and_the_run_goes_on(place: Workplace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        run = started(place, where)
        wait_until(lambda: of_type(run, Fault), "it was said")
        end(place, run)
        (fault,) = of_type(run, Fault)
    assert isinstance(fault, Fault)
    assert fault.message == f"no metrics are told any more: --metrics {where}: Address already in use"


def test_a_file_in_the_sockets_place_is_left_alone(place: Workplace) -> None:
    (place.folder / "precious").write_text("mine")
    done = place.tool("exporter", "--metrics", f"unix:{place.folder}/precious")
    assert done.returncode == 2 and b"this is there, and no socket" in done.stderr
    assert (place.folder / "precious").read_text() == "mine"


def test_a_socket_that_nobody_has_any_more_is_taken_over(place: Workplace) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(f"{place.folder}/m.sock")
    left.close()
    with exporter(place, "--metrics", f"unix:{place.folder}/m.sock") as where:
        assert over(where).startswith("#") or over(where) == ""
        other = place.tool("exporter", "--metrics", where)
        assert other.returncode == 2 and b"another program answers" in other.stderr


def test_an_ended_run_is_told_once_and_the_exporter_ends_with_it(place: Workplace) -> None:
    run = place.start(place.script("pass"))
    wait_for_state(run, "ended")
    done = place.tool("exporter", run.id, "--metrics", f"{place.folder}/x.prom")
    assert done.returncode == 0
    assert not (place.folder / "x.prom").exists()


def test_mistakes_are_said_before_a_script_starts(place: Workplace) -> None:
    done = place.tool("--headless", "--metrics", "9455", place.script("print('started')"))
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"tfgpu-tui: --metrics '9455': give HOST:PORT, unix:PATH, or a file that ends in .prom\n"


def test_a_rerun_has_its_metrics(place: Workplace) -> None:
    spec = launch.LaunchSpec(["x.py"], str(place.folder), "python", metrics="unix:/x")
    from tfgpu_tui.runs import rundir

    assert launch.spec_again(rundir.read_meta(launch.create(spec, "pty")), {}).metrics == "unix:/x"


@pytest.mark.parametrize("path", ["/nothing/here/x.prom", "unix:/nothing/here/x.sock"])
def test_a_place_that_is_not_there(place: Workplace, path: str) -> None:
    done = place.tool("exporter", "--metrics", path)
    assert done.returncode == 2
    assert b"No such file or directory" in done.stderr and done.stderr.count(b"\n") == 1
